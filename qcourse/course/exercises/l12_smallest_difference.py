"""Exercise 12.smallest_difference: how large a loss must be before the items at hand can show it."""

from math import comb

from qcourse.course.check import Exercise, slip

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


def least(gained: int, level: float, sides: int = 2) -> int:
    """Return the smallest number of lost items whose p-value falls below a level."""
    return next(lost for lost in range(gained, 10**4) if sides / 2 * p_value(lost, gained) < level)


def one_test(n: int, gained: int, tests: int) -> float:
    """You look at `tests` tests: the smallest p-value is multiplied by their number before it counts."""
    return (least(gained, LEVEL) - gained) / n


def one_sided(n: int, gained: int, tests: int) -> float:
    """The p-value counts both sides: a gain would have been reported too."""
    return (least(gained, LEVEL / tests, sides=1) - gained) / n


def no_gain(n: int, gained: int, tests: int) -> float:
    """`gained` items went the other way; they are flips too, and the lost ones must outnumber them."""
    return least(0, LEVEL / tests) / n


def all_lost(n: int, gained: int, tests: int) -> float:
    """Accuracy falls by what was lost minus what was gained, over n."""
    return least(gained, LEVEL / tests) / n


def one_item_less(n: int, gained: int, tests: int) -> float:
    """That loss does not show yet: one more item must be lost."""
    return (least(gained, LEVEL / tests) - 1 - gained) / n


def items(n: int, gained: int, tests: int) -> float:
    """Return a difference of accuracy: divide the items by n."""
    return float(least(gained, LEVEL / tests) - gained)


SLIPS = (
    slip("Sidak", "Holm's first step multiplies the p-value by `tests`; 1 - 0.95 ** (1 / tests) is another "
         "correction.",
         lambda n, gained, tests: (least(gained, 1 - (1 - LEVEL) ** (1 / tests)) - gained) / n),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference,
    (one_test, one_sided, no_gain, all_lost, one_item_less, items, *SLIPS),
    praise="Know this number before you run: a loss below it cannot be found with these items, by anyone.",
    tolerance=1e-9
)  # fmt: skip
