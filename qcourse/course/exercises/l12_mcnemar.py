"""Exercise 12.mcnemar: the exact p-value of answers that flipped one way more often than the other."""

from fractions import Fraction
from math import comb, erfc, sqrt

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (items lost, items gained, items asked)."""
    return [(5, 0, 50), (3, 1, 50), (0, 0, 20), (4, 4, 100), (1, 9, 200), (30, 12, 400)]


def reference(lost: int, gained: int, n: int) -> float:
    """Add up, exactly, the probabilities of all splits at most as likely as this one."""
    changed = lost + gained
    chances = [Fraction(comb(changed, k), 2**changed) for k in range(changed + 1)]
    return float(sum(chance for chance in chances if chance <= chances[lost]))


def tail(lost: int, gained: int) -> float:
    """Return the chance of a split at least as uneven, to the side that was found."""
    changed = lost + gained
    return sum(comb(changed, k) for k in range(max(lost, gained), changed + 1)) / 2**changed


def one_sided(lost: int, gained: int, n: int) -> float:
    """That is one tail. A gain as uneven would have surprised you as much: count both tails."""
    return tail(lost, gained)


def more_than_one(lost: int, gained: int, n: int) -> float:
    """Where as many were lost as gained the two tails overlap: a probability is at most 1."""
    return 2 * tail(lost, gained)


def this_split(lost: int, gained: int, n: int) -> float:
    """That is the chance of exactly this split. Add the splits that are at least as uneven."""
    return comb(lost + gained, lost) / 2 ** (lost + gained)


def all_items(lost: int, gained: int, n: int) -> float:
    """Items that did not change say nothing about the direction: flip one coin for each changed item."""
    return min(1.0, 2 * sum(comb(n, k) for k in range(max(lost, gained), n + 1)) / 2**n)


def unpaired(lost: int, gained: int, n: int) -> float:
    """Close, but with few flips the bell curve is off: add up the binomial probabilities."""
    changed = lost + gained
    return erfc(abs(lost - gained) / sqrt(changed) / sqrt(2)) if changed else 1.0


EXERCISE = Exercise(
    cases, reference, (one_sided, more_than_one, this_split, all_items, unpaired),
    praise="Only flips count: 200 items with 5 flips tell as much as 20 items with the same 5.",
    tolerance=1e-9
)  # fmt: skip
