"""python -m qcourse.course.keep_reference: keep this run's scoreboard and claim figures in data/reference.

What the README and the lessons show is what one run measured on one machine; rows and figures say when. The
figures of another model than pico (QCOURSE_MODEL) go into a folder of its name.
"""

import json
import os
from pathlib import Path

from qcourse.common import QCourseError, atomic_path, data_folder, results_folder, write_json
from qcourse.course import claim_figures
from qcourse.course.report import read_rows


def keep(rows_file: Path, folder: Path, model: str = "pico") -> Path:
    """Write the newest row of each lane and the Pareto figure into `folder`; return the figure's path.

    Raises QCourseError if no lane was measured.
    """
    rows = read_rows(rows_file)
    if not rows:
        raise QCourseError(f"{rows_file} holds no rows; run `make course` first")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "scoreboard.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with atomic_path(folder / "scoreboard.png") as temporary:
        temporary.write_bytes(picture_of(rows, model))
    return folder / "scoreboard.png"


def keep_claims(entries: claim_figures.Entries, folder: Path, model: str = "pico") -> Path:
    """Write what was measured of one model, its planted copy included, as claims.json; return the path."""
    own = {name: {whose: entry for whose, entry in by_model.items() if whose.split(",")[0] == model}
           for name, by_model in entries.items()}  # fmt: skip
    write_json(folder / "claims.json", {name: found for name, found in sorted(own.items()) if found})
    return folder / "claims.json"


def picture_of(rows: list[dict], model: str) -> bytes:
    """Return the Pareto figure of scoreboard rows as PNG."""
    from qcourse.course.figures import as_png
    from qcourse.measure import Row, pareto

    date, machine = rows[-1]["date"][:10], rows[-1]["machine"]
    drawn = [Row.from_dict(row) for row in rows if row["kl_mean"]]
    return as_png(lambda: pareto(drawn, f"{model}, every lane, {machine}, {date}"))


def main() -> None:
    """Keep the rows and the claim figures of the model that QCOURSE_MODEL names."""
    from qcourse.models import public_name

    model = public_name(os.environ.get("QCOURSE_MODEL") or "pico")
    folder = data_folder() / "reference" / ("" if model == "pico" else model)
    print(keep(results_folder() / "scoreboard.jsonl", folder, model))
    print(keep_claims(claim_figures.measured(shipped=False), folder, model))


if __name__ == "__main__":
    main()
