"""Exercise 12.holm: p-values adjusted for being looked at together."""

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return lists of p-values."""
    return [
        ([0.04],),
        ([0.01, 0.04],),
        ([0.6, 0.02, 0.7],),
        ([0.012, 0.8, 0.011, 0.02, 0.3],),
        ([0.2, 0.001, 0.03, 0.03, 0.6, 0.012],),
    ]


def reference(p_values: list[float]) -> list[float]:
    """For each value take the largest adjusted value among itself and those below it."""
    ordered = sorted(range(len(p_values)), key=lambda index: p_values[index])
    steps = [(len(p_values) - rank) * p_values[index] for rank, index in enumerate(ordered)]
    found = [0.0] * len(p_values)
    for rank, index in enumerate(ordered):
        found[index] = min(1.0, max(steps[: rank + 1]))
    return found


def stepwise(p_values: list[float], factor, monotone: bool = True, most: float = 1.0) -> list[float]:
    """Adjust from the smallest up; `factor` maps (rank from 0, n) to what multiplies."""
    found, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        value = min(most, factor(rank, len(p_values)) * p_values[index])
        largest = max(largest, value) if monotone else value
        found[index] = largest
    return found


def false_discovery(p_values: list[float], factor=lambda rank, n: n / (rank + 1)) -> list[float]:
    """That is Benjamini and Hochberg's: it bounds the share of false finds, Holm the chance of any."""
    found, least = [0.0] * len(p_values), 1.0
    ordered = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank in reversed(range(len(p_values))):
        least = min(least, p_values[ordered[rank]] * factor(rank, len(p_values)))
        found[ordered[rank]] = least
    return found


def first_of_equals(p_values: list[float]) -> list[float]:
    """A larger p-value must not end up below a smaller one, and equal ones are still two tests."""
    return [min(1.0, (len(p_values) - sorted(p_values).index(value)) * value) for value in p_values]


def in_turn(p_values: list[float]) -> list[float]:
    """Sort first: the smallest p-value is multiplied by the number of tests, not the one that came first."""
    return [min(1.0, (len(p_values) - index) * value) for index, value in enumerate(p_values)]


WRONG = (
    false_discovery, first_of_equals, in_turn,
    *slips("That is Bonferroni: right, but too strict. After the smallest, one test fewer is left.",
           bonferroni=lambda p: [min(1.0, len(p) * value) for value in p],
           bonferroni_above_one=lambda p: [len(p) * value for value in p]),
    *slips("A larger p-value must not end up below a smaller one: keep the largest adjusted value so far.",
           not_monotone=lambda p: stepwise(p, lambda rank, n: n - rank, monotone=False)),
    *slips("The values are right, but give them back in the order they came in.",
           in_order=lambda p: sorted(reference(p))),
    *slips("A probability is at most 1.",
           above_one=lambda p: stepwise(p, lambda rank, n: n - rank, most=float("inf"))),
    *slips("That is Hochberg's, from the largest down: Holm starts at the smallest and keeps the largest so "
           "far.", from_the_largest=lambda p: false_discovery(p, lambda rank, n: n - rank)),
    *slips("The smallest p-value is multiplied by the number of tests, the largest by 1.",
           from_the_top=lambda p: stepwise(p, lambda rank, n: rank + 1),
           one_less=lambda p: stepwise(p, lambda rank, n: n - rank - 1),
           one_more=lambda p: stepwise(p, lambda rank, n: n - rank + 1)),
    *slips("That is Benjamini and Hochberg's factor, n / rank: Holm multiplies by n, n - 1, and so on.",
           factor_of_the_other=lambda p: stepwise(p, lambda rank, n: n / (rank + 1)),
           factor_alone=lambda p: stepwise(p, lambda rank, n: n / (rank + 1), monotone=False)),
    *slips("All p-values are adjusted, not the smallest alone.",
           smallest_only=lambda p: [min(1.0, len(p) * value) if value == min(p) else value for value in p]),
    *slips("Return the adjusted p-values, not whether they are below 0.05.",
           decisions=lambda p: [value < 0.05 for value in reference(p)]),
    *slips("Adjusting makes p-values larger: multiply, do not divide.",
           divided=lambda p: [value / len(p) for value in p]),
    *slips("1 - (1 - p)**n is Sidak's correction of the smallest; Holm multiplies.",
           sidak=lambda p: [1 - (1 - value) ** len(p) for value in p]),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Ask enough questions and one falls below 0.05 by luck: this keeps that chance at 5%.",
    tolerance=1e-9
)  # fmt: skip
