"""Speed and memory, each against its bar, in one run on one machine: `make bench`.

The clock runs from tokens to codes for everyone, model loading apart. A row of GPTQ or AWQ carries the KL
divergence of the very model that was timed and is void where ours is worse than the peer's.
"""

from collections.abc import Iterator
from typing import Annotated

import typer

from qcourse.common import QCourseError, results_folder, write_json
from qcourse.common.display import show_table

PARTS = ("gptq", "awq", "stream", "arrays", "evaluation")
COLUMNS = ("what", "figure", "bar", "met", "ours", "spread", "peer", "peer_spread", "KL", "peer_KL")


def bench(
    model: Annotated[str, typer.Option(help="pico, a folder or a hub id")] = "pico",
    sequences: Annotated[int, typer.Option(help="of 512 calibration tokens, for MODEL")] = 64,
    only: Annotated[list[str] | None, typer.Option(help=f"parts: {', '.join(PARTS)}; default all")] = None,
    small: Annotated[bool, typer.Option(help="leave out the 160M-parameter shape")] = False,
    full: Annotated[bool, typer.Option(help="five runs also of peers slower than 100 s")] = False,
    all_peers: Annotated[bool, typer.Option(help="GPTQModel, AutoGPTQ and AutoAWQ too, once each")] = False,
    compiled: Annotated[bool, typer.Option(help="dequantize by torch.compile too")] = False,
) -> None:
    """Print the table of every part and write build/bench.json."""
    from qcourse.common.provenance import machine, versions

    chosen = tuple(only or PARTS)
    if unknown := set(chosen) - set(PARTS):
        raise QCourseError(f"no part called {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    rows = []
    for found in parts(chosen, model, sequences, small, full, all_peers, compiled):
        rows.append(found)
        print(found, flush=True)
        report = {"machine": machine(), "versions": versions(), "parts": chosen, "rows": rows}
        write_json(results_folder() / "bench.json", report)  # after each row: the whole takes long
    show_table([{key: found.get(key, "") for key in COLUMNS} for found in rows])


def parts(
    chosen: tuple[str, ...], model: str, sequences: int, small: bool, full: bool, all_peers: bool,
    compiled: bool
) -> Iterator[dict]:  # fmt: skip
    """Yield the rows of the chosen parts."""
    from qcourse.bench.speed import arrays, evaluation, quantizing, streaming, subjects

    tested = [subjects.pico(model, sequences)] + ([] if small else [subjects.random_llama()])
    for method in quantizing.RECIPES:
        for subject in tested if method in chosen else []:
            yield from quantizing.rows(subject, method, full, all_peers)
    if "stream" in chosen:
        yield from streaming.rows()
    if "arrays" in chosen:
        yield from arrays.rows(compiled)
    if "evaluation" in chosen:
        yield from evaluation.rows(tested[0])


if __name__ == "__main__":
    typer.run(bench)
