"""Exercise 12.holm: p-values adjusted for being looked at together."""

from qcourse.course.check import Exercise


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


def bonferroni(p_values: list[float]) -> list[float]:
    """That is Bonferroni: right, but too strict. After the smallest, one test fewer is left."""
    return [min(1.0, len(p_values) * value) for value in p_values]


def not_monotone(p_values: list[float]) -> list[float]:
    """A larger p-value must not end up below a smaller one: keep the largest adjusted value so far."""
    return stepwise(p_values, lambda rank, n: n - rank, monotone=False)


def in_order(p_values: list[float]) -> list[float]:
    """The values are right, but give them back in the order they came in."""
    return sorted(reference(p_values))


def above_one(p_values: list[float]) -> list[float]:
    """A probability is at most 1."""
    return stepwise(p_values, lambda rank, n: n - rank, most=float("inf"))


def false_discovery(p_values: list[float]) -> list[float]:
    """That is Benjamini and Hochberg's: it bounds the share of false finds, Holm the chance of any."""
    found, least = [0.0] * len(p_values), 1.0
    ordered = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank in reversed(range(len(p_values))):
        least = min(least, p_values[ordered[rank]] * len(p_values) / (rank + 1))
        found[ordered[rank]] = least
    return found


def from_the_top(p_values: list[float]) -> list[float]:
    """The smallest p-value is multiplied by the number of tests, the largest by 1."""
    return stepwise(p_values, lambda rank, n: rank + 1)


EXERCISE = Exercise(
    cases, reference, (bonferroni, not_monotone, in_order, above_one, false_discovery, from_the_top),
    praise="Ask enough questions and one falls below 0.05 by luck: this keeps that chance at 5%.",
    tolerance=1e-9
)  # fmt: skip
