"""Exercise 01.paired_bootstrap: the interval of a difference measured on the same windows."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, Misconception


def cases() -> list[tuple]:
    """Return (a [n], b [n], drawn [resamples, n]): losses by window and the window numbers of each draw."""
    draw = torch.Generator().manual_seed(12)
    found = []
    for windows, resamples in ((4, 40), (16, 400)):
        b = 3 + torch.randn(windows, generator=draw)
        a = b + 0.1 + 0.02 * torch.randn(windows, generator=draw)
        found.append((a, b, torch.randint(windows, (resamples, windows), generator=draw)))
    return found


def ends(means: Tensor, part: float = 0.025) -> tuple[float, float]:
    """Return the interval that leaves out `part` at each end."""
    return float(means.quantile(part)), float(means.quantile(1 - part))


def reference(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """Average the differences of the drawn windows, one resample at a time."""
    return ends(torch.stack([(a - b)[windows].mean() for windows in drawn]))


def unpaired(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """Draw the windows of b on their own."""
    return ends(a[drawn].mean(1) - b[drawn.roll(1, 0)].mean(1))


def corners(a: Tensor, b: Tensor, drawn: Tensor) -> tuple[float, float]:
    """Subtract separate intervals."""
    first, second = ends(a[drawn].mean(1)), ends(b[drawn].mean(1))
    return first[0] - second[1], first[1] - second[0]


EXERCISE = Exercise(
    cases=cases,
    reference=reference,
    misconceptions=(
        Misconception(
            "separate intervals",
            corners,
            "You took an interval of each and subtracted: what makes a window hard for both no longer "
            "cancels. "
            "Subtract first, window by window.",
        ),
        Misconception("unpaired", unpaired, "Draw the same windows for a and b: the pairing is the point."),
        Misconception(
            "windows, not means",
            lambda a, b, drawn: ends(a - b),
            "Those are quantiles of single windows; asked is how far the mean would move: average each "
            "draw first.",
        ),
        Misconception(
            "5% at each end",
            lambda a, b, drawn: ends((a - b)[drawn].mean(1), 0.05),
            "95% inside leaves 2.5% at each end: quantiles 0.025 and 0.975.",
        ),
        Misconception(
            "direction",
            lambda a, b, drawn: reference(b, a, drawn),
            "The difference is a minus b, not b minus a.",
        ),
    ),
    praise="What makes a window hard for both cancels, so the interval of the difference is the narrow one.",
)
