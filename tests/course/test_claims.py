"""The ledger is well formed, and every verdict follows from its figure by the rule."""

from dataclasses import replace

import pytest

from qcourse.common import QCourseError, repository, write_json
from qcourse.course import arithmetic, claim_figures, claims, keep_reference, ledger
from qcourse.measure import Estimate

RULED = [claim for claim in ledger.ledger().values() if claim.rule]


def figures_around(claim: ledger.Claim) -> list[float]:
    """Return figures on both sides of every threshold of a rule."""
    bounds = [float(bound) for line in claim.rule for key, bound in line.items() if key in ledger.BOUNDS]
    gap = max(1e-9, min((abs(a - b) for a in bounds for b in bounds if a != b), default=1.0) / 4)
    return [bound + side * gap for bound in bounds for side in (-1, 0, 1)]


def test_the_ledger_is_whole():
    whole = ledger.ledger()
    assert len(whole) >= 140
    assert {name.split("-")[0] for name in whole} == {"S0", "S1", "S2", "S3", "S4"}
    assert all(claim.claim and claim.measurement and claim.where for claim in whole.values())
    assert f"{len(whole)} of their claims" in (repository() / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", RULED, ids=lambda claim: claim.id)
def test_the_verdict_flips_across_a_threshold(claim):
    verdicts = {ledger.decide(claim, figure) for figure in figures_around(claim)}
    assert len(verdicts) >= 2
    assert verdicts <= set(ledger.VERDICTS)


@pytest.mark.parametrize("claim", RULED, ids=lambda claim: claim.id)
def test_every_conclusion_of_a_rule_can_be_reached(claim):
    reached = {ledger.decide(claim, figure) for figure in figures_around(claim)}
    assert reached == {ledger.line_verdict(line) for line in claim.rule}


def test_measurable_rows_store_no_verdict():
    for claim in ledger.ledger().values():
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
    assert claims.known(claim, {}).verdict == "misleading"
    monkeypatch.setattr(arithmetic, "LLAMA3_8B_KEPT", 0)
    assert claims.known(claim, {}).verdict == "true"


@pytest.fixture
def nothing_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    monkeypatch.setattr(claim_figures, "data_folder", lambda: tmp_path)


def test_settle_stores_the_figure_and_not_the_verdict(nothing_measured, capsys):
    row = claims.settle("S1-11", 0, model="toy", tokens=64)
    assert row.verdict == ledger.decide(claims.get("S1-11"), 0.0)
    assert "S1-11" in capsys.readouterr().out
    entry = claims.stored(claims.measured_file())["S1-11"]["toy"]
    assert entry["figure"] == {"value": 0, "low": 0, "high": 0} and entry["setting"]["tokens"] == "64"
    assert next(row for row in claims.rows() if row.claim.id == "S1-11").figure == 0


def test_figures_of_two_models_stand_side_by_side(nothing_measured):
    claims.settle("S1-31", Estimate(1.5, 1.4, 1.6), model="pico")
    row = claims.settle("S1-31", Estimate(2.0, 1.9, 2.1), model="smollm2")
    assert {model: figure.value for model, figure in row.figures.items()} == {"pico": 1.5, "smollm2": 2.0}


def test_a_sampled_figure_needs_its_interval(nothing_measured):
    with pytest.raises(QCourseError, match="no interval"):
        claims.settle("S1-31", 1.2, model="toy")


def test_a_magnitude_keeps_the_verdict_of_the_published_figures(nothing_measured, capsys):
    row = claims.settle("S2-20", Estimate(0.1, 0.0, 0.2), model="a small one")
    assert row.verdict == "misleading" and row.beside["a small one"].value == 0.1
    assert row.figure == claims.get("S2-20").published_figures[next(iter(row.figures))]
    assert "beside it, a small one 0.1 % [0, 0.2]" in capsys.readouterr().out
    nothing_lost = replace(claims.get("S2-20"), published_figures={"a source": 0.1})
    assert claims.known(nothing_lost, {}).verdict == "true"


def test_sources_that_disagree_leave_it_open_to_the_source():
    claim = replace(claims.get("S2-20"), published_figures={"one": 0.1, "other": 18.0})
    row = claims.known(claim, {})
    assert row.verdict == "depends" and "true by one" in row.why and "misleading by other" in row.why


CLAIM = claims.get("S1-34")  # direction: at_least 1.25 true, above 1 depends, otherwise false


@pytest.mark.parametrize(
    ("scope", "figures", "verdict", "why"),
    [
        ("direction", {}, "open", "not measured"),
        ("direction", {"pico": (1.5, 1.4, 1.6)}, "open", "smollm2 not measured"),
        ("direction", {"pico": (1.5, 1.4, 1.6), "smollm2": (1.4, 1.3, 1.5)}, "true", ""),
        ("direction", {"pico": (1.5, 1.4, 1.6), "smollm2": (0.8, 0.7, 0.9)}, "depends", "on the model"),
        ("direction", {"pico": (1.5, 1.4, 1.6), "smollm2": (1.3, 1.2, 1.4)}, "undecided", "smollm2"),
        ("direction", {"pico": (0.8, 0.7, 1.3), "smollm2": (1.3, 1.2, 1.4)}, "undecided", "pico and smollm2"),
        ("mechanism", {"pico": (1.5, 1.4, 1.6)}, "true", ""),
        ("mechanism", {"pico": (1.3, 1.2, 1.4)}, "undecided", "pico"),
    ],
)
def test_a_verdict_is_no_more_than_its_evidence_carries(scope, figures, verdict, why):
    found, reason = ledger.conclude(
        replace(CLAIM, scope=scope), {model: Estimate(*ends) for model, ends in figures.items()}
    )
    assert found == verdict and why in reason


def test_an_interval_that_skips_a_whole_line_of_the_rule_is_undecided():
    around = replace(
        CLAIM, rule=({"at_least": 1.0, "at_most": 1.1, "verdict": "true"}, {"otherwise": "false"})
    )
    assert ledger.decide_interval(around, Estimate(0.9, 0.8, 1.3)) == "undecided"
    assert ledger.decide_interval(around, Estimate(1.05, 1.0, 1.1)) == "true"


def test_an_unmeasured_claim_is_open(nothing_measured):
    open_rows = {row.claim.id for row in claims.rows() if row.verdict == "open"}
    assert "S1-10" in open_rows and "S1-32" not in open_rows and "S2-07" not in open_rows


def test_figures_that_ship_with_the_course_are_known_and_newer_ones_win(tmp_path, monkeypatch):
    monkeypatch.setattr(claim_figures, "data_folder", lambda: tmp_path)
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "home"))
    shipped = {"S1-31": {"pico": {"figure": {"value": 2.0, "low": 1.9, "high": 2.1}, "setting": {}}}}
    write_json(tmp_path / "reference" / "smollm2" / "claims.json", shipped)
    assert claims.known(claims.get("S1-31"), claims.measured()["S1-31"]).figure == 2.0
    claims.settle("S1-31", Estimate(3.0, 2.9, 3.1), model="pico")
    assert claims.known(claims.get("S1-31"), claims.measured()["S1-31"]).figure == 3.0


def test_a_learners_older_or_damaged_file_holds_nothing(tmp_path):
    (tmp_path / "claims.json").write_text(
        '{"S1-31": {"figure": 1.2, "setting": {"model": "pico"}}, "S1-34": 3}'
    )
    assert claims.stored(tmp_path / "claims.json") == {}


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_no_verdict_from_a_broken_measurement(figure):
    with pytest.raises(QCourseError, match="finite"):
        ledger.decide(claims.get("S1-10"), figure)


def test_documents_cannot_be_settled_by_a_figure():
    with pytest.raises(QCourseError, match="evidence"):
        claims.settle("S2-07", Estimate(1.0, 0.9, 1.1), model="toy")


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "vague"},
        {"verdict": "true", "evidence": "x"},
        {"rule": ({"below": 1, "verdict": "true"},)},
        {"rule": ({"below": 1, "verdict": "maybe"}, {"otherwise": "false"})},
        {"rule": (), "verdict": "true"},
        {"scope": "magnitude"},
    ],
)
def test_malformed_rows_are_refused(change):
    with pytest.raises(QCourseError):
        ledger.validate(replace(claims.get("S1-10"), **change))


def test_an_unknown_claim_is_named():
    with pytest.raises(QCourseError, match="S9-99"):
        claims.get("S9-99")


def test_the_contradictions_name_claims_with_their_verdicts(nothing_measured, monkeypatch):
    monkeypatch.setattr(claim_figures, "data_folder", lambda: repository() / "data")
    table = claims.contradictions()
    assert len(table) == 20 and all(row["answer"].endswith(".") for row in table)
    sides = next(row["sides"] for row in table if "70B" in row["question"]).splitlines()
    assert len(sides) == 3 and sides[0].startswith("S0-01: ") and sides[0].endswith("(false)")


def test_claim_figures_are_kept_by_model(tmp_path):
    entry = {"figure": {"value": 1.0, "low": 0.9, "high": 1.1}, "setting": {}}
    entries = {"S1-31": {"pico": entry, "smollm2": entry}, "S1-05": {"pico, planted outliers": entry}}
    kept = claims.stored(keep_reference.keep_claims(entries, tmp_path, "pico"))
    assert kept == {"S1-05": {"pico, planted outliers": entry}, "S1-31": {"pico": entry}}
    assert set(claims.stored(keep_reference.keep_claims(entries, tmp_path, "smollm2"))) == {"S1-31"}
