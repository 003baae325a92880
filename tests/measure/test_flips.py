"""Flips, McNemar's exact test and Holm's adjustment against known values."""

import pytest
from scipy import stats

from qcourse.measure.flips import Flips, flips, holm, smallest_loss


def test_flips_count_both_directions():
    found = flips([True, True, False, False, True], [False, True, True, False, False])
    assert (found.lost, found.gained, found.n) == (2, 1, 5)
    assert found.difference == pytest.approx(-0.2)


EXACT = [(6, 0, 0.03125), (5, 0, 0.0625), (10, 2, 0.0385742), (3, 3, 1.0)]


@pytest.mark.parametrize(("lost", "gained", "p"), EXACT)
def test_the_exact_test_of_mcnemar(lost, gained, p):
    assert Flips(lost, gained, 50).p_value == pytest.approx(p, rel=1e-4)


def test_a_run_against_itself_changes_nothing():
    marks = [True, False, True, True] * 5
    same = flips(marks, marks)
    assert same.p_value == 1.0 and same.difference == 0 and (same.lost, same.gained) == (0, 0)


def test_the_smallest_loss_is_six_items():
    assert smallest_loss(50) == pytest.approx(6 / 50)
    assert Flips(5, 0, 50).p_value > 0.05 > Flips(6, 0, 50).p_value


def test_holm_adjusts_in_order_and_never_below_the_one_before():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def test_chance_alone_rarely_passes_holm():
    draw = stats.binom(20, 0.5)
    counts = draw.rvs(size=(200, 8), random_state=0)
    wrong = sum(min(holm({str(i): Flips(k, 20 - k, 100).p_value for i, k in enumerate(row)}).values()) < 0.05
                for row in counts.tolist())  # fmt: skip
    assert wrong <= 20  # 5% of 200, and some


def test_unequal_runs_are_refused():
    with pytest.raises(ValueError):
        flips([True], [True, False])
