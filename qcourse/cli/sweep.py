"""qcourse sweep: recipes x measurements from a grid file, resumable."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    grid: Annotated[Path, typer.Argument(help="a YAML file: model, recipes, and what to measure")],
) -> None:
    """Quantize and measure every recipe of the grid; rows that the scoreboard has already are kept.

    A grid: {model: pico, recipes: [rtn-w4g128, {method: [gptq, awq], bits: [3, 4]}], windows: 8}
    """
    from qcourse.pipeline.sweep import read_sweep, sweep

    wanted = read_sweep(grid)
    rows = sweep(wanted)
    from qcourse.measure import scoreboard

    print(scoreboard.table(rows).to_string(index=False))
    print(f"{len(rows)} rows in {wanted.scoreboard}")
