"""Widths under a budget of bits: equal to trying everything, and refusals."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.common import QCourseError
from qcourse.quantize.allocate import allocate

WIDTHS = (2, 3, 4, 8)


def best_by_trying(losses, costs, budget) -> float:
    """Return the least summed loss of all combinations within the budget."""
    return min(
        sum(loss[bits] for loss, bits in zip(losses, choice, strict=True))
        for choice in product(WIDTHS, repeat=len(losses))
        if sum(cost[bits] for cost, bits in zip(costs, choice, strict=True)) <= budget
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 5)), min_size=1, max_size=5), st.floats(2, 8))
def test_no_other_choice_is_better(parts, average):
    costs = [{bits: 256 * size * bits for bits in WIDTHS} for size, _ in parts]
    losses = [{bits: weight * 4.0**-bits for bits in WIDTHS} for _, weight in parts]
    budget = int(average * 256 * sum(size for size, _ in parts))
    chosen = allocate(losses, costs, budget)
    assert sum(cost[bits] for cost, bits in zip(costs, chosen, strict=True)) <= budget
    found = sum(loss[bits] for loss, bits in zip(losses, chosen, strict=True))
    assert found == pytest.approx(best_by_trying(losses, costs, budget), rel=1e-12, abs=1e-15)


def test_costs_without_a_common_divisor_still_keep_the_budget(monkeypatch):
    monkeypatch.setattr("qcourse.quantize.allocate.FINEST", 50)
    sizes = (101, 499, 1009, 37)
    costs = [{bits: bits * size for bits in WIDTHS} for size in sizes]
    losses = [{bits: size * 4.0**-bits for bits in WIDTHS} for size in sizes]
    for budget in (2 * sum(sizes), 3 * sum(sizes), 5 * sum(sizes)):
        chosen = allocate(losses, costs, budget)
        assert sum(cost[bits] for cost, bits in zip(costs, chosen, strict=True)) <= budget
    assert chosen != [2] * 4


def test_a_budget_below_the_smallest_widths_is_refused():
    with pytest.raises(QCourseError, match="budget of 7 bits is below the 8"):
        allocate([{2: 1.0}], [{2: 8}], 7)
