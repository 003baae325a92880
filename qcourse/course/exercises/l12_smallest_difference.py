"""Exercise 12.smallest_difference: how large a loss must be before the items at hand can show it."""

from collections.abc import Callable
from math import comb

from qcourse.course.check import Exercise, slips

LEVEL = 0.05


def cases() -> list[tuple]:
    """Return (items asked, items gained by chance, tests looked at together)."""
    return [(200, 0, 1), (200, 2, 1), (60, 0, 6), (400, 5, 1), (400, 5, 3), (400, 5, 12), (1000, 20, 24)]


def p_value(lost: int, gained: int) -> float:
    """Return the exact two-sided p-value of a split that favours `lost`."""
    changed = lost + gained
    if lost <= gained:
        return 1.0
    return 2 * sum(comb(changed, k) for k in range(lost, changed + 1)) / 2**changed


def reference(n: int, gained: int, tests: int) -> float:
    """Raise the lost items one by one until the test, times the number of tests, falls below 5%."""
    lost = gained
    while p_value(lost, gained) * tests >= LEVEL:
        lost += 1
    return (lost - gained) / n


def least(gained: int, level: float, sides: int = 2, start: int | None = None) -> int:
    """Return the smallest number of lost items, from `start` on, whose p-value falls below a level."""
    first = gained if start is None else start
    return next(lost for lost in range(first, 10**4) if sides / 2 * uneven(lost, gained) < level)


def uneven(lost: int, gained: int) -> float:
    """Return the p-value of a split in either direction."""
    return p_value(max(lost, gained), min(lost, gained))


def shown(level=lambda tests: LEVEL / tests, **wrong) -> Callable:
    """Return the answer at another level a test, or with something else wrong."""
    return lambda n, gained, tests: (least(gained, level(tests), **wrong) - gained) / n


WRONG = (
    *slips("You look at `tests` tests: the smallest p-value is multiplied by their number before it counts.",
           one_test=shown(lambda tests: LEVEL), root=shown(lambda tests: LEVEL / tests**0.5),
           multiplied=shown(lambda tests: LEVEL * tests)),
    *slips("The p-value counts both sides: a gain would have been reported too.", one_sided=shown(sides=1)),
    *slips("The p-value has two sides already: compare it with 0.05, not half of it.",
           half_the_level=shown(lambda tests: LEVEL / 2 / tests)),
    *slips("A loss shows below a p-value of 0.05, after the adjustment.",
           one_percent=shown(lambda tests: 0.01 / tests)),
    *slips("`gained` items went the other way; they are flips too, and the lost ones must outnumber them.",
           no_gain=lambda n, gained, tests: least(0, LEVEL / tests) / n),
    *slips("Accuracy falls by what was lost minus what was gained, over n.",
           sum_of_both=lambda n, gained, tests: (least(gained, LEVEL / tests) + gained) / n,
           all_lost=lambda n, gained, tests: least(gained, LEVEL / tests) / n,
           gain_taken_twice=lambda n, gained, tests: (least(gained, LEVEL / tests) - 2 * gained) / n),
    *slips("That loss does not show yet: one more item must be lost.",
           one_item_less=lambda n, gained, tests: shown()(n, gained, tests) - 1 / n),
    *slips("One item less shows already: stop at the first number whose p-value is below 0.05.",
           one_item_more=lambda n, gained, tests: shown()(n, gained, tests) + 1 / n),
    *slips("Return a difference of accuracy: divide the items by n.",
           items=lambda n, gained, tests: n * shown()(n, gained, tests),
           of_changed=lambda n, gained, tests: n * shown()(n, gained, tests) / (least(gained, LEVEL
               / tests) + gained)),
    *slips("Start where as many are lost as gained: with fewer lost the test sees a gain.",
           from_none=shown(start=0), from_none_magnitude=lambda *case: abs(shown(start=0)(*case))),
    *slips("Holm's first step multiplies the p-value by `tests`; 1 - 0.95 ** (1 / tests) is another "
           "correction.", sidak=shown(lambda tests: 1 - (1 - LEVEL) ** (1 / tests))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference,
    WRONG,
    praise="Know this number before you run: a loss below it cannot be found with these items, by anyone.",
    tolerance=1e-9
)  # fmt: skip
