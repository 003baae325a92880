"""The ledger of published claims: a measured figure goes in, the claim's own rule gives the verdict.

data/claims.yaml holds for each claim its wording, sources, measurement, scope and one of
- `rule`: for what this course measures. No verdict is stored: it follows from the figures, each with its
  interval. A mechanism may be shown on one model; a direction is a verdict only where pico and smollm2 agree;
- `published_figures` and `rule`: for magnitudes of large models. The published figures give the verdict;
  what small models give stands beside it as an illustration and never overrules it;
- `compute` and `rule`: for arithmetic; the figure is computed by `qcourse.course.arithmetic`;
- `verdict` and `evidence`: for what only documentation or a cited publication can settle.
"""

from dataclasses import asdict, dataclass, field
from datetime import date

from qcourse.common import QCourseError, write_json
from qcourse.common.display import short, show_table
from qcourse.common.tables import data_table
from qcourse.course.claim_figures import measured, measured_file, stored
from qcourse.course.ledger import Claim, conclude, decide, get, ledger, published_verdict
from qcourse.measure.statistics import Estimate


@dataclass(frozen=True)
class ClaimRow:
    """A claim with what is known now; verdict is "open" as long as too little was measured.

    figures: model or source -> what the verdict follows from; beside: figures that only illustrate it;
    why: what keeps the verdict from being more, "" where nothing does.
    """

    claim: Claim
    verdict: str
    figures: dict[str, Estimate] = field(default_factory=dict)
    beside: dict[str, Estimate] = field(default_factory=dict)
    why: str = ""

    @property
    def figure(self) -> float | None:
        """The first figure, or None: what a program that reads one number is given."""
        return next((estimate.value for estimate in self.figures.values()), None)


def settle(identifier: str, figure: "Estimate | float", *, model: str, **setting: object) -> ClaimRow:
    """Store a measured figure with its model and setting, show the row, return it.

    figure: an Estimate with its 95% interval; a plain number only where the claim is marked exact.
    Raises QCourseError for a sampled figure without an interval, and for claims that no figure settles.
    """
    claim = get(identifier)
    estimate = as_estimate(claim, figure)
    decide(claim, estimate.value)
    noted = {key: str(value) for key, value in setting.items()} | {"date": date.today().isoformat()}
    entry = {model: {"figure": asdict(estimate), "setting": noted}}
    row = known(claim, measured().get(identifier, {}) | entry)
    try:
        kept = stored(measured_file())
        write_json(measured_file(), {**kept, identifier: kept.get(identifier, {}) | entry})
    except OSError as error:
        print(f"Shown, not stored: {measured_file().parent} cannot be written ({error.strerror}).")
    show_table([as_cells(row)])
    return row


def as_estimate(claim: Claim, figure: "Estimate | float") -> Estimate:
    """Return the figure with its interval, which has no width where the claim is exact."""
    if isinstance(figure, Estimate):
        return figure
    if not claim.exact:
        raise QCourseError(
            f"{claim.id} is sampled, and {figure} has no interval; give an Estimate, as yard.ratio returns it"
        )
    return Estimate(float(figure), float(figure), float(figure))


def show(*identifiers: str) -> None:
    """Show rows that need no measurement here: computed, documented, or still open."""
    known_rows = {row.claim.id: row for row in rows()}
    show_table([as_cells(known_rows[get(identifier).id]) for identifier in identifiers])


def rows() -> list[ClaimRow]:
    """Return every claim with its verdict as far as it is known: measured, computed, documented or open."""
    found = measured()
    return [known(claim, found.get(claim.id, {})) for claim in ledger().values()]


def contradictions() -> list[dict[str, object]]:
    """Return the questions on which the articles contradict each other, each side with its verdict.

    Keys: question, sides (article, claim and verdict, a line each), answer.
    Raises QCourseError for a claim that the ledger lacks.
    """
    verdicts = {row.claim.id: row.verdict for row in rows()}
    return [
        {
            "question": entry["question"],
            "sides": "\n".join(f"{name}: {get(name).claim} ({verdicts[name]})" for name in entry["claims"]),
            "answer": entry["answer"],
        }
        for entry in data_table("contradictions.yaml")["contradictions"]
    ]


def known(claim: Claim, entries: dict[str, dict]) -> ClaimRow:
    """Return the row of one claim, given what was measured of it by model."""
    here = {model: Estimate(**entry["figure"]) for model, entry in entries.items()}
    if claim.kind == "documented":
        return ClaimRow(claim, claim.verdict, beside=here)
    if claim.kind == "arithmetic":
        from qcourse.course import arithmetic

        figure = float(getattr(arithmetic, claim.compute)())
        return ClaimRow(claim, decide(claim, figure), {"computed": Estimate(figure, figure, figure)})
    if claim.kind == "published":
        verdict, why = published_verdict(claim)
        figures = {name: Estimate(value, value, value) for name, value in claim.published_figures.items()}
        return ClaimRow(claim, verdict, figures, here, why)
    verdict, why = conclude(claim, here)
    return ClaimRow(claim, verdict, here, why=why)


def as_cells(row: ClaimRow) -> dict[str, object]:
    """Return a row as the columns that lessons and the report show."""
    told = [in_words(name, figure, row.claim.unit) for name, figure in row.figures.items()]
    told += [f"beside it, {in_words(name, figure, row.claim.unit)}" for name, figure in row.beside.items()]
    return {
        "id": row.claim.id,
        "claim": row.claim.claim,
        "measured": row.claim.measurement,
        "figure": "; ".join(told),
        "verdict": row.verdict + (f" ({row.why})" if row.why else ""),
        "scope": row.claim.scope,
        "published": row.claim.published or row.claim.evidence,
    }


def in_words(name: str, figure: Estimate, unit: str) -> str:
    """Return a figure as text: whose it is, value, unit, and the interval where there is one."""
    around = f" [{short(figure.low)}, {short(figure.high)}]" if figure.low < figure.high else ""
    return f"{name} {short(figure.value)}{f' {unit}' if unit else ''}{around}"
