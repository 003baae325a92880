"""Exercise 14.ship_gate: ship only what an interval shows to be no worse than a margin."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (before [n], after [n], margin, draws [2000, n]): marks 0 or 1, items with replacement."""
    draw = torch.Generator().manual_seed(14)
    found = []
    for n, lost, gained, margin in (
        (400, 6, 4, 0.03),
        (60, 3, 2, 0.05),
        (400, 20, 6, 0.03),
        (60, 0, 4, 0.03),
    ):
        before = (torch.arange(n) % 4 < 3).double()
        after = before.clone()
        after[before.nonzero()[:lost, 0]] = 0.0
        after[(before == 0).nonzero()[:gained, 0]] = 1.0
        found.append((before, after, margin, torch.randint(n, (2000, n), generator=draw)))
    return found


def differences(before: Tensor, after: Tensor, draws: Tensor) -> Tensor:
    """Return the mean of after - before of each draw, item by item."""
    return (after - before)[draws].mean(1)


def verdict(bound: float, margin: float) -> tuple[bool, float]:
    """Ship if the bound is above minus the margin."""
    return bound > -margin, bound


def reference(before: Tensor, after: Tensor, margin: float, draws: Tensor) -> tuple[bool, float]:
    """Compare the low end of the 95% interval, the 2.5th percentile, with minus the margin."""
    ordered = differences(before, after, draws).sort().values
    place = 0.025 * (len(ordered) - 1)
    low, part = int(place), place - int(place)
    return verdict(float(ordered[low] * (1 - part) + ordered[low + 1] * part), margin)


def point_estimate(before: Tensor, after: Tensor, margin: float, draws: Tensor) -> tuple[bool, float]:
    """That is the difference on these items. On others it would be another: the gate must hold for the low
    end of the interval.
    """
    return verdict(float((after - before).mean()), margin)


def not_significant(before: Tensor, after: Tensor, margin: float, draws: Tensor) -> tuple[bool, float]:
    """You ship when no loss is proved: with few items nothing is ever proved, and everything ships. The
    burden of proof is on the new file: low end > -margin.
    """
    found = differences(before, after, draws)
    return bool(found.quantile(0.975) >= 0), float(found.quantile(0.025))


def upper_end(before: Tensor, after: Tensor, margin: float, draws: Tensor) -> tuple[bool, float]:
    """The upper end is the best that can be hoped for; the gate asks the lower."""
    return verdict(float(differences(before, after, draws).quantile(0.975)), margin)


def unpaired(before: Tensor, after: Tensor, margin: float, draws: Tensor) -> tuple[bool, float]:
    """Draw the same items for both: what makes an item hard for both then cancels, and the interval is as
    narrow as it can be.
    """
    found = after[draws.roll(1, 0)].mean(1) - before[draws].mean(1)
    return verdict(float(found.quantile(0.025)), margin)


def no_margin(before: Tensor, after: Tensor, margin: float, draws: Tensor) -> tuple[bool, float]:
    """Without the margin only a proved gain would ship. Compare with -margin, the loss you accept."""
    return verdict(float(differences(before, after, draws).quantile(0.025)), 0.0)


EXERCISE = Exercise(
    cases, reference, (point_estimate, not_significant, upper_end, unpaired, no_margin),
    praise="Too few items now mean no, not yes: the gate asks for evidence that nothing is lost.",
    tolerance=1e-4
)  # fmt: skip
