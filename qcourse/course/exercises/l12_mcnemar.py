"""Exercise 12.mcnemar: the exact p-value of answers that flipped one way more often than the other."""

from fractions import Fraction
from math import comb, erfc, sqrt

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (items lost, items gained, items asked)."""
    return [(5, 0, 50), (3, 1, 50), (0, 0, 20), (4, 4, 100), (1, 9, 200), (30, 12, 44)]


def reference(lost: int, gained: int, n: int) -> float:
    """Add up, exactly, the probabilities of all splits at most as likely as this one."""
    changed = lost + gained
    chances = [Fraction(comb(changed, k), 2**changed) for k in range(changed + 1)]
    return float(sum(chance for chance in chances if chance <= chances[lost]))


def tail(lost: int, gained: int, coins: int | None = None, start: int | None = None, end: int = 1) -> float:
    """Return the chance of a split at least as uneven, to the side that was found."""
    changed = lost + gained if coins is None else coins
    first = max(lost, gained) if start is None else start
    return sum(comb(changed, k) for k in range(first, changed + end)) / 2**changed


def both(one: float) -> float:
    """Return both tails, at most 1."""
    return min(1.0, 2 * one)


def bell(lost: int, gained: int, correction: int = 0) -> float:
    """Return the p-value of the bell curve."""
    changed = lost + gained
    return erfc(max(0, abs(lost - gained) - correction) / sqrt(changed) / sqrt(2)) if changed else 1.0


WRONG = (
    *slips("That is one tail. A gain as uneven would have surprised you as much: count both tails.",
           one_sided=lambda lost, gained, n: tail(lost, gained),
           lower_tail_of_lost=lambda lost, gained, n: tail(lost, gained, start=gained)),
    *slips("Where as many were lost as gained the two tails overlap: a probability is at most 1.",
           more_than_one=lambda lost, gained, n: 2 * tail(lost, gained)),
    *slips("That is the chance of exactly this split. Add the splits that are at least as uneven.",
           this_split=lambda lost, gained, n: comb(lost + gained, lost) / 2 ** (lost + gained)),
    *slips("Items that did not change say nothing about the direction: flip one coin for each changed item.",
           all_items=lambda lost, gained, n: both(tail(lost, gained, n)),
           all_items_divide=lambda lost, gained, n: both(tail(lost, gained) * 2.0 ** (lost + gained - n))),
    *slips("Close, but with few flips the bell curve is off: add up the binomial probabilities.",
           unpaired=lambda lost, gained, n: bell(lost, gained),
           corrected=lambda lost, gained, n: bell(lost, gained, 1)),
    *slips("The tail starts at the larger of lost and gained: both directions count.",
           tail_of_lost=lambda lost, gained, n: both(tail(lost, gained, start=lost)),
           from_the_difference=lambda lost, gained, n: both(tail(lost, gained, start=abs(lost - gained)))),
    *slips("Yours is always 1: the tail starts at max(lost, gained), and is divided by 2**changed.",
           always_one=lambda lost, gained, n: 1.0),
    *slips("The split that was found belongs to the tail: from max(lost, gained) to all, both included.",
           more_uneven_only=lambda lost, gained, n: both(tail(lost, gained, start=max(lost, gained) + 1)),
           all_left_out=lambda lost, gained, n: both(tail(lost, gained, end=0))),
    *slips("That takes off the chance of this split (the mid p-value); the exact test counts it in both "
           "tails.",
           mid=lambda lost, gained, n: min(1.0, 2 * tail(lost, gained) - comb(lost + gained, lost)
               / 2 ** (lost + gained))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Only flips count: 200 items with 5 flips tell as much as 20 items with the same 5.",
    tolerance=1e-9
)  # fmt: skip
