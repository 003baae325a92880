"""The ledger is well formed, and every verdict follows from its figure by the rule."""

from dataclasses import replace

import pytest

from qcourse.common import QCourseError, repository
from qcourse.course import arithmetic, claims

RULED = [claim for claim in claims.ledger().values() if claim.rule]


def figures_around(claim: claims.Claim) -> list[float]:
    """Return figures on both sides of every threshold of a rule."""
    bounds = [float(bound) for line in claim.rule for key, bound in line.items() if key in claims.BOUNDS]
    gap = max(1e-9, min((abs(a - b) for a in bounds for b in bounds if a != b), default=1.0) / 4)
    return [bound + side * gap for bound in bounds for side in (-1, 0, 1)]


def test_the_ledger_is_whole():
    ledger = claims.ledger()
    assert len(ledger) >= 140
    assert {name.split("-")[0] for name in ledger} == {"S0", "S1", "S2", "S3", "S4"}
    assert all(claim.claim and claim.measurement and claim.where for claim in ledger.values())
    assert f"{len(ledger)} of their claims" in (repository() / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", RULED, ids=lambda claim: claim.id)
def test_the_verdict_flips_across_a_threshold(claim):
    verdicts = {claims.decide(claim, figure) for figure in figures_around(claim)}
    assert len(verdicts) >= 2
    assert verdicts <= set(claims.VERDICTS)


@pytest.mark.parametrize("claim", RULED, ids=lambda claim: claim.id)
def test_every_conclusion_of_a_rule_can_be_reached(claim):
    reached = {claims.decide(claim, figure) for figure in figures_around(claim)}
    assert reached == {claims.line_verdict(line) for line in claim.rule}


def test_measurable_rows_store_no_verdict():
    for claim in claims.ledger().values():
        if {"C", "G"} & set(claim.where) and claim.kind == "documented":
            assert claim.evidence
            assert "D" in claim.where, f"{claim.id} can be measured but stores a verdict"


@pytest.mark.parametrize(
    ("identifier", "low", "high"),
    [
        ("S0-01", 2.71, 2.73),
        ("S1-02", 3.85, 3.95),
        ("S3-01", 5.65, 5.80),
        ("S1-32", 3.1, 3.2),
        ("S1-33", 12.4, 12.6),
        ("S1-38", 63.9, 64.1),
        ("S1-39", 15.9, 16.1),
        ("S4-30", 69.3, 69.5),
        ("S4-08", 200, 400),
        ("S1-07", 0.03, 0.06),
        ("S1-36", 83, 84),
    ],
)
def test_arithmetic_gives_known_figures(identifier, low, high):
    claim = claims.get(identifier)
    assert low < getattr(arithmetic, claim.compute)() < high


def test_an_input_of_arithmetic_moves_its_verdict(monkeypatch):
    claim = claims.get("S3-01")
    assert claims.known(claim, None).verdict == "misleading"
    monkeypatch.setattr(arithmetic, "LLAMA3_8B_KEPT", 0)
    assert claims.known(claim, None).verdict == "true"


def test_settle_stores_the_figure_and_not_the_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    assert claims.settle("S1-10", 0, model="toy").verdict == claims.decide(claims.get("S1-10"), 0.0)
    assert "S1-10" in capsys.readouterr().out
    stored = claims.stored(claims.measured_file())["S1-10"]
    assert stored["figure"] == 0 and "verdict" not in stored
    row = next(row for row in claims.rows() if row.claim.id == "S1-10")
    assert row.figure == 0 and row.setting["model"] == "toy"


def test_a_magnitude_keeps_the_verdict_of_the_published_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    row = claims.settle("S2-20", 0.1, model="a small one")
    assert (row.figure, row.here, row.verdict) == (18.0, 0.1, "misleading")
    assert "here, as a direction, 0.1" in capsys.readouterr().out
    nothing_lost = replace(claims.get("S2-20"), published_figure=0.1)
    assert claims.known(nothing_lost, None).verdict == "true"


def test_an_unmeasured_claim_is_open(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    open_rows = {row.claim.id for row in claims.rows() if row.verdict == "open"}
    assert "S1-10" in open_rows and "S1-32" not in open_rows and "S2-07" not in open_rows


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_no_verdict_from_a_broken_measurement(figure):
    with pytest.raises(QCourseError, match="finite"):
        claims.decide(claims.get("S1-10"), figure)


def test_documents_cannot_be_settled_by_a_figure():
    with pytest.raises(QCourseError, match="evidence"):
        claims.settle("S2-07", 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "vague"},
        {"verdict": "true", "evidence": "x"},
        {"rule": ({"below": 1, "verdict": "true"},)},
        {"rule": ({"below": 1, "verdict": "maybe"}, {"otherwise": "false"})},
        {"rule": (), "verdict": "true"},
    ],
)
def test_malformed_rows_are_refused(change):
    with pytest.raises(QCourseError):
        claims.validate(replace(claims.get("S1-10"), **change))


def test_an_unknown_claim_is_named():
    with pytest.raises(QCourseError, match="S9-99"):
        claims.get("S9-99")
