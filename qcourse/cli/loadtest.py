"""qcourse loadtest: a served URL under load."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcourse.cli.options import Answer, ApiKey, AsJson, answer

if TYPE_CHECKING:
    from qcourse.serve import LoadTest

Lengths = Annotated[
    Path | None,
    typer.Option(help='JSONL to draw lengths from: {"prompt_tokens": 300, "output_tokens": 80}'),
]
Limits = Annotated[
    list[str] | None, typer.Option(help="for goodput, such as ttft=0.5; also tpot, e2e; seconds")
]
Figure = Annotated[Path | None, typer.Option(help="picture of throughput and waiting, .png or .svg")]


def command(
    url: Annotated[str, typer.Argument(help="an OpenAI-compatible address, such as http://127.0.0.1:8000")],
    concurrency: Annotated[str, typer.Option(help="closed loop: clients of each row")] = "1,4,16",
    rate: Annotated[str | None, typer.Option(help="open loop instead: requests a second, 2,4,8")] = None,
    requests: Annotated[int | None, typer.Option(help="of each row; default: 4 a client, 8 or more")] = None,
    prompt_tokens: Annotated[int, typer.Option(help="length of the prompts")] = 64,
    new_tokens: Annotated[int, typer.Option(help="length of the answers")] = 32,
    lengths: Lengths = None,
    limit: Limits = None,
    figure: Figure = None,
    api_key: ApiKey = None,
    json: AsJson = False,
) -> Answer:
    """Measure waiting, tokens a second and failures of a server at several loads, with fresh prompts each."""
    from qcourse.serve import load_figures
    from qcourse.serve.loadtest import read_lengths

    loads = [(None, each) for each in numbers(rate, float)] if rate else (
        [(each, None) for each in numbers(concurrency, int)])  # fmt: skip
    options = {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens, "limits": limits_of(limit or []),
               "lengths": read_lengths(lengths) if lengths else None, "api_key": api_key}  # fmt: skip
    rows = measured(url, loads, requests, options)
    if figure:
        load_figures.figure(rows).savefig(figure)
    return answer([row.asdict() for row in rows], json, table(rows), int(len(rows) < len(loads)))


def measured(url: str, loads: list[tuple], requests: int | None, options: dict) -> list["LoadTest"]:
    """Return the rows of the loads (clients, or requests a second) up to one that fails, which is said.

    Raises QCourseError where the first one does.
    """
    from qcourse.common import QCourseError
    from qcourse.serve import loadtest

    rows: list[LoadTest] = []
    for clients, rate in loads:
        count = requests or max(8, 4 * (clients or 8))
        print(f"{count} requests, {clients or rate} {'clients' if clients else 'a second'}", file=sys.stderr)
        try:
            rows.append(loadtest(url, clients, count, rate=rate, progress=True, **options))
        except QCourseError as error:
            if not rows:
                raise
            print(f"error: {error}", file=sys.stderr)
            break
    return rows


def numbers(text: str, kind: type) -> list:
    """Return the numbers of a text such as 1,4,16; QCourseError for another text."""
    from qcourse.common import QCourseError

    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise QCourseError(f"{text!r} is no list of numbers; write them as 1,4,16") from None


def limits_of(texts: list[str]) -> dict[str, float]:
    """Return limits by name of texts such as ttft=0.5; QCourseError for another text."""
    from qcourse.common import QCourseError

    try:
        return {name: float(value) for name, value in (text.split("=") for text in texts)}
    except ValueError:
        raise QCourseError(
            f"{', '.join(texts)} is no limit; write ttft=0.5, tpot=0.05 or e2e=10, in seconds"
        ) from None


def table(rows: list["LoadTest"]) -> str:
    """Return one line a load, the knee of a closed loop, and every reason of a failure with its count."""
    from qcourse.serve import knee

    columns = [f"{name} {p}" for name in ("TTFT", "TPOT", "ITL", "e2e") for p in ("p50", "p95", "p99")]
    lines = [f"{'load':>8} {'sent':>5} {'failed':>6} {'tokens/s':>9} {'good/s':>7} " + " ".join(
        f"{column:>9}" for column in columns)]  # fmt: skip
    for row in rows:
        load = f"{row.concurrency}" if row.concurrency else f"{row.rate:g}/s"
        times = [
            each.get(p) for each in (row.ttft, row.tpot, row.itl, row.e2e) for p in ("p50", "p95", "p99")
        ]
        good = "-" if row.goodput is None else f"{row.goodput:.2f}"
        counts = f"{load:>8} {row.sent:>5} {row.failed:>6} {row.output_tokens_per_second:>9.1f} {good:>7} "
        lines.append(counts + " ".join(f"{'-' if t is None else f'{t:.4f}s':>9}" for t in times))
    if len(rows) > 1 and rows[0].concurrency:
        lines.append(f"knee: {knee(rows).concurrency} clients reach 90% of the highest throughput")
    lines += [f"failed {count} x {reason}" for row in rows for reason, count in row.errors.items()]
    return "\n".join(lines)
