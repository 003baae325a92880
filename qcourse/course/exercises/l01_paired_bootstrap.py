"""Exercise 01.paired_bootstrap: the interval of a difference measured on the same windows."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (a [n], b [n], drawn [resamples, n]): losses by window and the window numbers of each draw."""
    draw = torch.Generator().manual_seed(12)
    found = []
    for windows, resamples in ((4, 40), (16, 400)):
        b = 3 + torch.randn(windows, generator=draw)
        a = b + 0.01 + 0.02 * torch.randn(windows, generator=draw)  # of both signs
        found.append((a, b, torch.randint(windows, (resamples, windows), generator=draw)))
    return found


def ends(means: Tensor, part: float = 0.025) -> tuple[float, float]:
    """Return the interval that leaves out `part` at each end."""
    return float(means.quantile(part)), float(means.quantile(1 - part))


def normal(means: Tensor) -> tuple[float, float]:
    """Return the mean of the means and 1.96 of their standard deviations to each side."""
    return float(means.mean() - 1.96 * means.std()), float(means.mean() + 1.96 * means.std())


def reference(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """Average the differences of the drawn windows, one resample at a time."""
    return ends(torch.stack([(a - b)[windows].mean() for windows in drawn]))


def unpaired(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """Draw the same windows for a and b: the pairing is the point."""
    return ends(a[drawn].mean(1) - b[drawn.roll(1, 0)].mean(1))


def corners(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """You took an interval of each and subtracted: what makes a window hard for both no longer cancels.
    Subtract first, window by window.
    """
    first, second = ends(a[drawn].mean(1)), ends(b[drawn].mean(1))
    return first[0] - second[1], first[1] - second[0]


def windows_not_means(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """Those are quantiles of single windows; asked is how far the mean would move: average each
    draw first.
    """
    return ends(a - b)


def five_percent_at_each_end(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """95% inside leaves 2.5% at each end: quantiles 0.025 and 0.975."""
    return ends((a - b)[drawn].mean(1), 0.05)


def direction(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """The difference is a minus b, not b minus a."""
    return reference(b, a, drawn)


SLIPS = (
    *slips("You took an interval of each and subtracted: subtract first, window by window.",
           ends_subtracted=lambda a, b, drawn: tuple(x - y for x, y in zip(ends(a[drawn].mean(1)),
               ends(b[drawn].mean(1)), strict=True))),
    *slips("Average each row of `drawn`: a resample is a row, n windows.",
           mean_over_the_draws=lambda a, b, drawn: ends((a - b)[drawn].mean(0))),
    *slips("Average each resample first: asked is how far the mean would move, not a single window.",
           not_averaged=lambda a, b, drawn: ends((a - b)[drawn].flatten())),
    *slips("The difference of means is asked: take the mean of each resample, not its sum.",
           sums=lambda a, b, drawn: ends((a - b)[drawn].sum(1))),
    *slips("The difference of means is asked, not of medians.",
           medians=lambda a, b, drawn: ends((a - b)[drawn].median(1).values)),
    *slips("A window on which a is better counts against a: keep the sign of the differences.",
           magnitudes=lambda a, b, drawn: ends((a - b).abs()[drawn].mean(1))),
    *slips("Those are the smallest and the largest resample: 95% leaves 2.5% out at each end.",
           all_of_them=lambda a, b, drawn: ends((a - b)[drawn].mean(1), 0.0)),
    *slips("b was measured on the same windows: draw them for both.",
           only_a_drawn=lambda a, b, drawn: ends(a[drawn].mean(1) - b.mean())),
    *slips("Asked is the difference of the losses, not their ratio.",
           ratio=lambda a, b, drawn: ends((a / b)[drawn].mean(1))),
    *slips("Read the ends off the resamples (quantiles); that is an interval of the normal distribution.",
           normal_interval=lambda a, b, drawn: normal((a - b)[drawn].mean(1))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference,
    (corners, unpaired, windows_not_means, five_percent_at_each_end, direction, *SLIPS),
    praise="What makes a window hard for both cancels, so the interval of the difference is the narrow one."
)  # fmt: skip
