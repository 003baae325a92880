"""The ledger file: claims of data/claims.yaml, checked, and the rules that make verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from qcourse.common import QCourseError, data_folder
from qcourse.common.tables import read_yaml
from qcourse.measure.statistics import Estimate

VERDICTS = ("true", "false", "misleading", "depends", "unverified")
SCOPES = ("mechanism", "direction", "magnitude")
UNDECIDED, OPEN = "undecided", "open"
SUBJECTS = ("pico", "smollm2")  # a direction is claimed of models in general: both must show it
BOUNDS = {"below": float.__lt__, "at_most": float.__le__, "above": float.__gt__, "at_least": float.__ge__}


@dataclass(frozen=True)
class Claim:
    """One row of the ledger; `qcourse.course.claims` tells the kinds.

    published_figures: source -> figure; exact: the figure is counted, not sampled, and has no interval.
    """

    id: str
    claim: str
    sources: tuple[str, ...]
    where: tuple[str, ...]
    scope: str
    measurement: str
    unit: str = ""
    lesson: str = ""
    published: str = ""
    published_figures: Mapping[str, float] = field(default_factory=dict)
    exact: bool = False
    rule: tuple[dict, ...] = ()
    compute: str = ""
    verdict: str = ""
    evidence: str = ""

    @property
    def kind(self) -> str:
        """Return "arithmetic", "documented", "published" or "measurable"."""
        if self.compute:
            return "arithmetic"
        if self.verdict:
            return "documented"
        return "published" if self.published_figures else "measurable"


@lru_cache(maxsize=1)
def ledger(path: Path | None = None) -> dict[str, Claim]:
    """Read data/claims.yaml, checked; claims by id in the file's order."""
    rows = read_yaml(path or data_folder() / "claims.yaml")["claims"]
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
    if claim.kind == "measurable" and claim.scope == "magnitude":
        raise QCourseError(
            f"{claim.id}: a magnitude of large models needs a published figure, arithmetic or documents"
        )
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


def decide_interval(claim: Claim, estimate: Estimate) -> str:
    """Return the verdict that holds in the whole interval, or "undecided" where it reaches over a bound."""
    bounds = [float(bound) for line in claim.rule for key, bound in line.items() if key in BOUNDS]
    inside = [bound for bound in bounds if estimate.low < bound < estimate.high]
    found = {decide(claim, figure) for figure in (estimate.low, estimate.value, estimate.high, *inside)}
    return found.pop() if len(found) == 1 else UNDECIDED


def conclude(claim: Claim, figures: Mapping[str, Estimate]) -> tuple[str, str]:
    """Return the verdict that the figures of the models measured can carry, and why it is no more.

    A mechanism needs one model, a direction both of SUBJECTS; where models disagree it depends on the model.
    """
    verdicts = {model: decide_interval(claim, estimate) for model, estimate in figures.items()}
    decided = {verdict for verdict in verdicts.values() if verdict != UNDECIDED}
    if not verdicts:
        return OPEN, "not measured yet"
    if len(decided) > 1:
        each = ", ".join(f"{found} on {model}" for model, found in verdicts.items())
        return "depends", f"on the model: {each}"
    if missing := [name for name in SUBJECTS if claim.scope == "direction" and name not in verdicts]:
        return OPEN, f"a direction needs {' and '.join(SUBJECTS)}; {' and '.join(missing)} not measured yet"
    if unsure := [model for model, verdict in verdicts.items() if verdict == UNDECIDED]:
        return UNDECIDED, f"the interval of {' and '.join(unsure)} reaches over a bound of the rule"
    return decided.pop(), ""


def published_verdict(claim: Claim) -> tuple[str, str]:
    """Return the verdict of the published figures; where sources disagree it depends on the source."""
    verdicts = {source: decide(claim, figure) for source, figure in claim.published_figures.items()}
    if len(set(verdicts.values())) == 1:
        return next(iter(verdicts.values())), ""
    return "depends", "on the source: " + ", ".join(f"{found} by {name}" for name, found in verdicts.items())


def get(identifier: str) -> Claim:
    """Return one claim; QCourseError if the ledger has no such id."""
    if identifier not in ledger():
        raise QCourseError(f"no claim {identifier} among {len(ledger())} in claims.yaml; check the spelling")
    return ledger()[identifier]
