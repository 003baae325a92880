"""The ledger file: claims of data/claims.yaml, checked, and the rules that make verdicts."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from qcourse.common import QCourseError, data_folder

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
    published_figure: float | None = None
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
        return "measurable" if self.published_figure is None else "published"


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


def get(identifier: str) -> Claim:
    """Return one claim; QCourseError if the ledger has no such id."""
    if identifier not in ledger():
        raise QCourseError(f"no claim {identifier} among {len(ledger())} in claims.yaml; check the spelling")
    return ledger()[identifier]
