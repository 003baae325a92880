"""python -m qcourse.course.keep_scoreboard: keep build/scoreboard.jsonl and its figure in data/reference.

What the README shows is what one run measured on one machine; the rows say when and where.
"""

import json
from pathlib import Path

from qcourse.common import QCourseError, atomic_path, data_folder, results_folder
from qcourse.course.report import read_rows


def keep(rows_file: Path, folder: Path) -> Path:
    """Write the newest row of each lane and the Pareto figure into `folder`; return the figure's path.

    Raises QCourseError if no lane was measured.
    """
    rows = read_rows(rows_file)
    if not rows:
        raise QCourseError(f"{rows_file} holds no rows; run `make course` first")
    with atomic_path(folder / "scoreboard.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with atomic_path(folder / "scoreboard.png") as temporary:
        temporary.write_bytes(picture_of(rows))
    return folder / "scoreboard.png"


def picture_of(rows: list[dict]) -> bytes:
    """Return the Pareto figure of scoreboard rows as PNG."""
    from qcourse.course.figures import as_png
    from qcourse.measure import Row, pareto

    date, machine = rows[-1]["date"][:10], rows[-1]["machine"]
    drawn = [Row.from_dict(row) for row in rows if row["kl_mean"]]
    return as_png(lambda: pareto(drawn, f"pico, every lane, {machine}, {date}"))


if __name__ == "__main__":
    print(keep(results_folder() / "scoreboard.jsonl", data_folder() / "reference"))
