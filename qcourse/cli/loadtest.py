"""qcourse loadtest: a served URL under load."""

from typing import Annotated

import typer

from qcourse.cli.options import Answer, answer

CLIENTS = (1, 4, 16)


def command(
    url: Annotated[str, typer.Argument(help="an OpenAI-compatible address, such as http://127.0.0.1:8000")],
    json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> Answer:
    """Measure time to first token, time per output token and throughput at several numbers of clients."""
    from qcourse.serve import loadtest

    found = [loadtest(url, clients, max(8, 2 * clients)).asdict() for clients in CLIENTS]
    return answer(found, json, table(found))


def table(rows: list[dict]) -> str:
    """Return one line a number of clients."""
    lines = [f"{'clients':>7} {'TTFT p50':>9} {'TTFT p95':>9} {'TPOT p50':>9} {'tokens/s':>9} {'failed':>6}"]
    for row in rows:
        lines.append(
            f"{row['concurrency']:>7} {row['ttft']['p50']:>8.3f}s {row['ttft']['p95']:>8.3f}s "
            f"{row['tpot']['p50']:>8.4f}s {row['output_tokens_per_second']:>9.1f} {len(row['errors']):>6}"
        )
    return "\n".join(lines)
