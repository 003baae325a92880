"""The ledger of published claims: a measured figure goes in, the claim's own rule gives the verdict.

data/claims.yaml holds for each claim its wording, sources, measurement, scope and one of
- `rule`: for what this course measures. No verdict is stored: it follows from the figure;
- `compute` and `rule`: for arithmetic; the figure is computed by `qcourse.course.arithmetic`;
- `verdict` and `evidence`: for what only documentation or a cited publication can settle.
"""

import json
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path

import yaml

from qcourse.common import QCourseError, data_folder, home_folder, repository, write_json
from qcourse.course.display import short, show_table

VERDICTS = ("true", "false", "misleading", "depends", "unverified")
SCOPES = ("mechanism", "direction", "magnitude")
BOUNDS = {"below": float.__lt__, "at_most": float.__le__, "above": float.__gt__, "at_least": float.__ge__}


@dataclass(frozen=True)
class Claim:
    """One row of the ledger; see the module's docstring for the three kinds."""

    id: str
    claim: str
    sources: tuple[str, ...]
    where: tuple[str, ...]
    scope: str
    measurement: str
    unit: str = ""
    lesson: str = ""
    published: str = ""
    rule: tuple[dict, ...] = ()
    compute: str = ""
    verdict: str = ""
    evidence: str = ""

    @property
    def kind(self) -> str:
        """Return "arithmetic", "documented" or "measurable"."""
        return "arithmetic" if self.compute else "documented" if self.verdict else "measurable"


@dataclass(frozen=True)
class Row:
    """A claim with what is known now; verdict is "open" as long as nothing was measured."""

    claim: Claim
    verdict: str
    figure: float | None = None
    setting: dict = field(default_factory=dict)


@lru_cache(maxsize=1)
def ledger(path: Path | None = None) -> dict[str, Claim]:
    """Read data/claims.yaml, checked; claims by id in the file's order."""
    rows = yaml.safe_load((path or data_folder() / "claims.yaml").read_text(encoding="utf-8"))["claims"]
    claims = {}
    for row in rows:
        lists = {key: tuple(row.get(key, ())) for key in ("sources", "where", "rule")}
        claim = Claim(**{**row, **lists})
        validate(claim)
        if claim.id in claims:
            raise QCourseError(f"claims.yaml holds {claim.id} twice; ids are unique; rename one")
        claims[claim.id] = claim
    return claims


def validate(claim: Claim) -> None:
    """Raise QCourseError unless the row has a known scope and one way to a verdict, and a total rule."""
    if claim.scope not in SCOPES:
        raise QCourseError(f"{claim.id}: scope {claim.scope!r}; one of {', '.join(SCOPES)}")
    if bool(claim.rule) == bool(claim.verdict):
        raise QCourseError(f"{claim.id}: needs a rule or a documented verdict, and not both")
    if claim.verdict and not claim.evidence:
        raise QCourseError(f"{claim.id}: a documented verdict needs its evidence")
    if claim.rule and set(claim.rule[-1]) != {"otherwise"}:
        raise QCourseError(f"{claim.id}: the last line of a rule is `otherwise`: every figure has a verdict")
    for verdict in [claim.verdict] if claim.verdict else [line_verdict(line) for line in claim.rule]:
        if verdict not in VERDICTS:
            raise QCourseError(f"{claim.id}: verdict {verdict!r}; one of {', '.join(VERDICTS)}")


def line_verdict(line: dict) -> str:
    """Return what one line of a rule concludes."""
    return line["otherwise"] if "otherwise" in line else line["verdict"]


def decide(claim: Claim, figure: float) -> str:
    """Apply the claim's rule to a finite figure; the first line whose bounds all hold gives the verdict."""
    figure = float(figure)
    if figure != figure or abs(figure) == float("inf"):
        raise QCourseError(f"{claim.id}: figure {figure}; a rule needs a finite number; see the measurement")
    for line in claim.rule:
        if all(BOUNDS[key](figure, float(bound)) for key, bound in line.items() if key in BOUNDS):
            return line_verdict(line)
    raise QCourseError(f"{claim.id} is settled by documents, not by figures; its evidence is in claims.yaml")


def settle(identifier: str, figure: float, **setting: object) -> Row:
    """Store a measured figure with its setting (model, bits, tokens...), show the row, return it."""
    claim = get(identifier)
    row = Row(claim, decide(claim, figure), float(figure), {**setting, "date": date.today().isoformat()})
    entry = {"figure": row.figure, "setting": {key: str(value) for key, value in row.setting.items()}}
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


def get(identifier: str) -> Claim:
    """Return one claim; QCourseError if the ledger has no such id."""
    if identifier not in ledger():
        raise QCourseError(f"no claim {identifier} among {len(ledger())} in claims.yaml; check the spelling")
    return ledger()[identifier]


def rows() -> list[Row]:
    """Return every claim with its verdict as far as it is known: measured, computed, documented or open."""
    measured = {**stored(repository() / "build" / "home" / "claims.json"), **stored(measured_file())}
    return [known(claim, measured.get(claim.id)) for claim in ledger().values()]


def known(claim: Claim, entry: dict | None) -> Row:
    """Return the row of one claim, given its stored measurement or None."""
    if claim.kind == "documented":
        return Row(claim, claim.verdict)
    if claim.kind == "arithmetic":
        from qcourse.course import arithmetic

        figure = float(getattr(arithmetic, claim.compute)())
        return Row(claim, decide(claim, figure), figure)
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
    figure = "" if row.figure is None else f"{short(row.figure)} {row.claim.unit}".strip()
    return {"id": row.claim.id, "claim": row.claim.claim, "measured": row.claim.measurement, "figure": figure,
            "verdict": row.verdict, "scope": row.claim.scope,
            "published": row.claim.published or row.claim.evidence}
