"""Exercise 14.ship_gate: ship only what an interval shows to be no worse than a margin."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (before [n], after [n], margin, draws [2000, n]): marks 0 or 1, items with replacement."""
    draw = torch.Generator().manual_seed(14)
    found = []
    for n, lost, gained, margin in (
        (8, 1, 0, 0.375),  # the bound, three items of eight, meets minus the margin exactly
        (60, 3, 2, 0.05),
        (60, 0, 4, 0.03),
        (60, 0, 10, 0.03),
        (400, 6, 4, 0.03),
        (400, 20, 6, 0.03),
        (400, 8, 0, 0.06),  # a loss is proved, and accepted
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


def gate(bound: Tensor | float, margin: float) -> tuple[bool, float]:
    """Ship if the bound is above minus the margin."""
    return float(bound) > -margin, float(bound)


def reference(before: Tensor, after: Tensor, margin: float, draws: Tensor) -> tuple[bool, float]:
    """Compare the low end of the 95% interval, the 2.5th percentile, with minus the margin."""
    ordered = differences(before, after, draws).sort().values
    place = 0.025 * (len(ordered) - 1)
    low, part = int(place), place - int(place)
    return gate(ordered[low] + (ordered[low + 1] - ordered[low]) * part, margin)


def low(before: Tensor, after: Tensor, draws: Tensor, share: float = 0.025) -> Tensor:
    """Return a quantile of the mean differences."""
    return differences(before, after, draws).quantile(share)


WRONG = (
    *slips("That is the difference on these items. On others it would be another: the gate must hold for "
           "the low end of the interval.",
           point_estimate=lambda b, a, margin, d: gate((a - b).mean(), margin),
           point_decides=lambda b, a, margin, d: (bool((a - b).mean() > -margin), low(b, a, d))),
    *slips("You ship when no loss is proved: with few items nothing is ever proved, and everything ships. "
           "The burden of proof is on the new file: low end > -margin.",
           not_significant=lambda b, a, margin, d: (bool(low(b, a, d, 0.975) >= 0), low(b, a, d)),
           always=lambda b, a, margin, d: (True, low(b, a, d))),
    *slips("The upper end is the best that can be hoped for; the gate asks the lower.",
           upper_end=lambda b, a, margin, d: gate(low(b, a, d, 0.975), margin)),
    *slips("Draw the same items for both: what makes an item hard for both then cancels, and the interval "
           "is as narrow as it can be.",
           unpaired=lambda b, a, margin, d: gate(
               (a[d.roll(1, 0)].mean(1) - b[d].mean(1)).quantile(0.025), margin)),
    *slips("The ends of two separate intervals do not subtract: take after minus before item by item, then "
           "the percentile.",
           separate_ends=lambda b, a, margin, d: gate(
               a[d].mean(1).quantile(0.025) - b[d].mean(1).quantile(0.975), margin),
           separate_low_ends=lambda b, a, margin, d: gate(
               a[d].mean(1).quantile(0.025) - b[d].mean(1).quantile(0.025), margin)),
    *slips("Without the margin only a proved gain would ship. Compare with -margin, the loss you accept.",
           no_margin=lambda b, a, margin, d: gate(low(b, a, d), 0.0)),
    *slips("The margin is a loss that you accept, so it is below zero: compare with -margin.",
           gain_demanded=lambda b, a, margin, d: (bool(low(b, a, d) > margin), low(b, a, d))),
    *slips("The margin is in points of accuracy, as the difference is: do not multiply it by the accuracy "
           "before.",
           relative_margin=lambda b, a, margin, d: (bool(low(b, a, d) > -margin * b.mean()),
                                                        low(b, a, d))),
    *slips("An interval whose low end lies exactly at minus the margin is not above it: >, not >=.",
           at_least=lambda b, a, margin, d: (bool(low(b, a, d) >= -margin), low(b, a, d))),
    *slips("Return the low end itself: the margin belongs in the comparison.",
           margin_added=lambda b, a, margin, d: (bool(low(b, a, d) > -margin), low(b, a, d) + margin),
           margin_off_the_mean=lambda b, a, margin, d: gate((a - b).mean() - margin, margin)),
    *slips("Compare with before, item by item: that is the accuracy after.",
           accuracy=lambda b, a, margin, d: gate(a[d].mean(1).quantile(0.025), margin)),
    *slips("That is the share of draws above -margin: return the low end of the interval.",
           share_of_draws=lambda b, a, margin, d: (
               bool(low(b, a, d) > -margin), (differences(b, a, d) > -margin).double().mean())),
    *slips("A gain never stands in the way: ask the low end only, whether it lies above -margin.",
           within_margin=lambda b, a, margin, d: (bool(abs(low(b, a, d)) < margin), low(b, a, d)),
           no_loss_proved_either=lambda b, a, margin, d: (
               bool(low(b, a, d) > -margin and low(b, a, d, 0.975) > 0), low(b, a, d))),
    *slips("Your verdict is turned round: ship if the low end lies above -margin.",
           turned_round=lambda b, a, margin, d: (bool(low(b, a, d) < -margin), low(b, a, d))),
    *slips("Take after minus before: a loss must come out negative.",
           before_minus_after=lambda b, a, margin, d: gate(low(a, b, d), margin)),
    *slips("The sign counts: what was gained makes up for what was lost.",
           magnitudes=lambda b, a, margin, d: gate((a - b).abs()[d].mean(1).quantile(0.025), margin)),
    *slips("The low end of a 95% interval is the quantile 0.025: half of the 5% lies beyond the other end.",
           one_percent=lambda b, a, margin, d: gate(low(b, a, d, 0.01), margin),
           five_percent=lambda b, a, margin, d: gate(low(b, a, d, 0.05), margin),
           a_quarter=lambda b, a, margin, d: gate(low(b, a, d, 0.25), margin),
           worst_draw=lambda b, a, margin, d: gate(low(b, a, d, 0.0), margin)),
    *slips("Take the mean over the items of each draw (axis 1): one number a draw, then the percentile of "
           "those.", mean_over_draws=lambda b, a, margin, d: gate((a - b)[d].mean(0).quantile(0.025), margin),
           no_draws=lambda b, a, margin, d: gate((a - b).quantile(0.025), margin),
           sums=lambda b, a, margin, d: gate((a - b)[d].sum(1).quantile(0.025), margin)),
    *slips("That is the interval of a bell curve: take the percentile of the draws.",
           bell_curve=lambda b, a, margin, d: gate((a - b).mean() - 1.96 * (a - b).std() / len(a) ** 0.5,
                                                       margin)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Too few items now mean no, not yes: the gate asks for evidence that nothing is lost.",
    tolerance=1e-4
)  # fmt: skip
