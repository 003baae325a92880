"""Which parts of a model get how many bits: the least summed loss that a budget of stored bits allows."""

import math

from qcourse.common import QCourseError

State = tuple[float, tuple]  # the loss so far, and (bits of the last part, (bits of the one before, ...))
FINEST = 20_000  # steps of the budget that are told apart; a model of few widths needs far fewer


def allocate(losses: list[dict[int, float]], costs: list[dict[int, int]], budget: int) -> list[int]:
    """Return for each part the bits that make the sum of losses least while costs stay within the budget.

    losses, costs: for each part, by choice of bits, what it loses and the bits it stores, scales included.
    Exact where the costs' common divisor divides the budget into at most 20,000 steps; beyond that costs
    are rounded up to such a step, so the budget is kept and at most one step a part is left unused.
    Raises QCourseError when even the smallest choices exceed the budget.
    Source: the multiple-choice knapsack problem by dynamic programming (Dudzinski and Walukiewicz 1987).
    """
    least = sum(min(cost.values()) for cost in costs)
    if least > budget:
        raise QCourseError(
            f"the budget of {budget:,} bits is below the {least:,} that the smallest widths take; "
            "raise it, or allow fewer bits"
        )
    unit = max(math.gcd(*(value for cost in costs for value in cost.values())), -(-budget // FINEST))
    room = budget // unit
    best: dict[int, State] = {0: (0.0, ())}  # by steps used
    for loss, cost in zip(losses, costs, strict=True):
        best = undominated(
            extend(best, loss, {bits: -(-value // unit) for bits, value in cost.items()}, room)
        )
    if not best:  # rounding up to steps has used up a budget that is only just enough
        return [min(cost, key=cost.__getitem__) for cost in costs]
    return unwound(min(best.values(), key=lambda state: state[0])[1])


def extend(
    best: dict[int, State], loss: dict[int, float], steps: dict[int, int], room: int
) -> dict[int, State]:
    """Return the best state for each number of steps after one more part has chosen its bits."""
    found: dict[int, State] = {}
    for used, (total, choices) in best.items():
        for bits, step in steps.items():
            place, value = used + step, total + loss[bits]
            if place <= room and (place not in found or value < found[place][0]):
                found[place] = (value, (bits, choices))
    return found


def undominated(states: dict[int, State]) -> dict[int, State]:
    """Drop every state that uses more steps than another and loses no less."""
    kept: dict[int, State] = {}
    lowest = math.inf
    for used in sorted(states):
        if states[used][0] < lowest:
            lowest, kept[used] = states[used][0], states[used]
    return kept


def unwound(choices: tuple) -> list[int]:
    """Return a chain (last, (one before, ...)) as a list from the first part on."""
    found = []
    while choices:
        bits, choices = choices
        found.append(bits)
    return found[::-1]
