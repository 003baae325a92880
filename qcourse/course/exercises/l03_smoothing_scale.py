"""Exercise 03.smoothing_scale: SmoothQuant's equation 4."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (x [tokens, in], w [out, in], alpha)."""
    draw = torch.Generator().manual_seed(31)
    x, w = torch.randn(6, 5, generator=draw), torch.randn(4, 5, generator=draw) * 0.1
    x = x * torch.tensor([1.0, 1, 40, 1, 3])
    return [(x, w, 0.5), (x, w, 0.8), (x, 40 * w, 0.25)]  # scales on both sides of 1


def largest(values: Tensor) -> Tensor:
    """Return the largest magnitude of each column, float64."""
    return values.double().abs().amax(0)


def scale(x: Tensor, w: Tensor, alpha: float, of_w: float = -1, size_x=largest, size_w=largest) -> Tensor:
    """Return max|x|**alpha / max|w|**(1 - alpha) of each input channel; size: what stands for the maxima."""
    return size_x(x) ** alpha * size_w(w) ** (of_w * (1 - alpha))


def signed(values: Tensor) -> Tensor:
    """Return the largest of each column, float64."""
    return values.double().amax(0)


def one(values: Tensor) -> Tensor:
    """Return the largest magnitude of all for each column."""
    return values.double().abs().max().expand(values.shape[1])


def mean(values: Tensor) -> Tensor:
    """Return the mean magnitude of each column."""
    return values.double().abs().mean(0)


WRONG = (
    *slips("Activations are divided by s: s must be large where x is large.",
           inverse=lambda *case: 1 / scale(*case)),
    *slips("Divide by the weight's part: a column that is large already takes less.",
           product=lambda *case: scale(*case, of_w=1)),
    *slips("alpha is the exponent of the activations, 1 - alpha that of the weights.",
           alpha_swapped=lambda x, w, alpha: scale(x, w, 1 - alpha),
           alpha_for_both=lambda x, w, alpha: (largest(x) / largest(w)) ** alpha),
    *slips("alpha is not used: it is the exponent of the activations, 1 - alpha that of the weights.",
           no_alpha=lambda x, w, alpha: largest(x) / largest(w),
           always_half=lambda x, w, alpha: (largest(x) / largest(w)).sqrt()),
    *slips("alpha is an exponent, not a factor.",
           alpha_as_factor=lambda x, w, alpha: largest(x) * alpha / (largest(w) * (1 - alpha))),
    *slips("Scales below 1 are right too: a channel of large weights is made smaller.",
           not_below_one=lambda *case: scale(*case).clamp(min=1)),
    *slips("Powers bind before minus: put 1 - alpha in brackets.",
           no_brackets=lambda x, w, alpha: largest(x) ** alpha / largest(w) ** 1 - alpha),
    *slips("The weights' maxima belong into the scale too.",
           activations_alone=lambda x, w, alpha: largest(x) ** alpha),
    *slips("The activations' maxima belong into the scale too: their outliers are what it is for.",
           weights_alone=lambda x, w, alpha: largest(w) ** (alpha - 1)),
    *slips("One maximum of a whole matrix: take that of each input channel, over the rows.",
           whole_w=lambda *case: scale(*case, size_w=one), whole_x=lambda *case: scale(*case, size_x=one),
           whole_matrices=lambda *case: scale(*case, size_x=one, size_w=one)),
    *slips("That has one entry a token. An entry a channel needs the maximum over tokens, axis 0.",
           tokens=lambda x, w, alpha: largest(x.T) ** alpha),
    *slips("Maxima, not means, sums or deviations: the step of a grid is set by the largest value.",
           means=lambda *case: scale(*case, size_x=mean, size_w=mean),
           means_of_x=lambda *case: scale(*case, size_x=mean),
           means_of_w=lambda *case: scale(*case, size_w=mean),
           **{name: partial(scale, size_x=size, size_w=size) for name, size in (
               ("mean_squares", lambda values: values.double().square().mean(0).sqrt()),
               ("norms", lambda values: values.double().norm(dim=0)),
               ("sums", lambda values: values.double().abs().sum(0)),
               ("deviations", lambda values: values.double().std(0)),
               ("medians", lambda values: values.double().abs().median(0).values))}),
    *slips("Take magnitudes before the maximum: a channel's extreme value may be negative.",
           signed_maxima=lambda *case: scale(*case, size_x=signed, size_w=signed),
           signed_x=lambda *case: scale(*case, size_x=signed),
           signed_w=lambda *case: scale(*case, size_w=signed)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, scale, WRONG,
    praise="At alpha = 0.5, x / s and w * s have the same maximum in every channel: neither is hard to "
    "round.", tolerance=1e-4
)  # fmt: skip
