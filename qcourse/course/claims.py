"""The ledger of published claims: a measured figure goes in, the claim's own rule gives the verdict.

data/claims.yaml holds for each claim its wording, sources, measurement, scope and one of
- `rule`: for what this course measures. No verdict is stored: it follows from the figure;
- `published_figure` and `rule`: for magnitudes of large models. The verdict follows from the published
  figure; what a small model gives is shown beside it as a direction;
- `compute` and `rule`: for arithmetic; the figure is computed by `qcourse.course.arithmetic`;
- `verdict` and `evidence`: for what only documentation or a cited publication can settle.
"""

import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from qcourse.common import home_folder, results_folder, write_json
from qcourse.common.display import short, show_table
from qcourse.course.ledger import BOUNDS, VERDICTS, Claim, decide, get, ledger, line_verdict, validate

__all__ = [
    "BOUNDS",
    "VERDICTS",
    "Claim",
    "Row",
    "decide",
    "get",
    "ledger",
    "line_verdict",
    "rows",
    "settle",
    "show",
    "validate",
]


@dataclass(frozen=True)
class Row:
    """A claim with what is known now; verdict is "open" as long as nothing was measured.

    figure: what the verdict follows from; here: what this machine's small model gave for a published figure.
    """

    claim: Claim
    verdict: str
    figure: float | None = None
    setting: dict = field(default_factory=dict)
    here: float | None = None


def settle(identifier: str, figure: float, **setting: object) -> Row:
    """Store a measured figure with its setting (model, bits, tokens...), show the row, return it."""
    claim = get(identifier)
    decide(claim, figure)
    noted = {key: str(value) for key, value in setting.items()} | {"date": date.today().isoformat()}
    entry = {"figure": float(figure), "setting": noted}
    row = known(claim, entry)
    try:
        write_json(measured_file(), {**stored(measured_file()), identifier: entry})
    except OSError as error:
        print(f"Shown, not stored: {measured_file().parent} cannot be written ({error.strerror}).")
    show_table([as_cells(row)])
    return row


def show(*identifiers: str) -> None:
    """Show rows that need no measurement here: computed, documented, or still open."""
    known_rows = {row.claim.id: row for row in rows()}
    show_table([as_cells(known_rows[get(identifier).id]) for identifier in identifiers])


def rows() -> list[Row]:
    """Return every claim with its verdict as far as it is known: measured, computed, documented or open."""
    measured = {**stored(results_folder() / "home" / "claims.json"), **stored(measured_file())}
    return [known(claim, measured.get(claim.id)) for claim in ledger().values()]


def known(claim: Claim, entry: dict | None) -> Row:
    """Return the row of one claim, given its stored measurement or None."""
    if claim.kind == "documented":
        return Row(claim, claim.verdict)
    if claim.kind == "arithmetic":
        from qcourse.course import arithmetic

        figure = float(getattr(arithmetic, claim.compute)())
        return Row(claim, decide(claim, figure), figure)
    if claim.kind == "published":
        here = entry or {"figure": None, "setting": {}}
        figure = claim.published_figure
        return Row(claim, decide(claim, figure), figure, here["setting"], here["figure"])
    if entry is None:
        return Row(claim, "open")
    return Row(claim, decide(claim, entry["figure"]), entry["figure"], entry["setting"])


def measured_file() -> Path:
    """Return where `settle` keeps figures: claims.json in the learner's home folder."""
    return home_folder() / "claims.json"


def stored(path: Path) -> dict[str, dict]:
    """Read measured figures; an absent or damaged file holds none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def as_cells(row: Row) -> dict[str, object]:
    """Return a row as the columns that lessons and the report show."""
    unit, published = row.claim.unit, row.claim.published or row.claim.evidence
    figure = "" if row.figure is None else f"{short(row.figure)} {unit}".strip()
    if row.claim.kind == "published":
        figure = f"published {figure}"
        if row.here is not None:
            figure += f"; here, as a direction, {short(row.here)} {unit}".rstrip()
    return {
        "id": row.claim.id,
        "claim": row.claim.claim,
        "measured": row.claim.measurement,
        "figure": figure,
        "verdict": row.verdict,
        "scope": row.claim.scope,
        "published": published,
    }
