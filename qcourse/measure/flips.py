"""Answers that change: flips in either direction, the exact test of them, and many tests at once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LEVEL = 0.05


@dataclass(frozen=True)
class Flips:
    """Items that were right and are wrong now (lost), the reverse (gained), and how many were asked."""

    lost: int
    gained: int
    n: int

    @property
    def difference(self) -> float:
        """The change of accuracy, negative where it fell."""
        return (self.gained - self.lost) / self.n

    @property
    def p_value(self) -> float:
        """Probability of a split as uneven as this if answers flip either way alike.

        Source: McNemar 1947, the exact two-sided binomial form.
        """
        from scipy.stats import binomtest

        changed = self.lost + self.gained
        return float(binomtest(self.lost, changed).pvalue) if changed else 1.0

    def __str__(self) -> str:
        return f"{self.lost} lost, {self.gained} gained of {self.n}, p = {self.p_value:.2g}"


def flips(before: Sequence[bool], after: Sequence[bool]) -> Flips:
    """Count what changed between two runs over the same items; ValueError for unequal lengths."""
    pairs = list(zip(before, after, strict=True))
    lost, gained = (sum(pair == way for pair in pairs) for way in ((True, False), (False, True)))
    return Flips(lost, gained, len(pairs))


def smallest_loss(n: int) -> float:
    """Return the smallest loss of accuracy that n items can show at the 5% level, when none is gained."""
    lost = next(count for count in range(1, 64) if Flips(count, 0, n or 1).p_value < LEVEL)
    return lost / n if n else float("nan")


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return the p-values adjusted for being looked at together; below 0.05 still means what it says.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted, largest = {}, 0.0
    for rank, (name, value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * value))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def flips_by_skill(
    before: Mapping[str, Sequence[bool]], after: Mapping[str, Sequence[bool]]
) -> dict[str, dict[str, Any]]:
    """Return {skill: {lost, gained, n, p}} for each skill of `before`; p is adjusted by Holm for all."""
    found = {skill: flips(marks, after[skill]) for skill, marks in before.items()}
    adjusted = holm({skill: each.p_value for skill, each in found.items()})
    return {skill: asdict(each) | {"p": adjusted[skill]} for skill, each in found.items()}
