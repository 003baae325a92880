"""Exercise 03.smoothing_scale: SmoothQuant's equation 4."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (x [tokens, in], w [out, in], alpha)."""
    draw = torch.Generator().manual_seed(31)
    x, w = torch.randn(6, 5, generator=draw), torch.randn(4, 5, generator=draw) * 0.1
    return [(x * torch.tensor([1.0, 1, 40, 1, 3]), w, alpha) for alpha in (0.5, 0.8, 0.25)]


def largest(values: Tensor) -> Tensor:
    """Return the largest magnitude of each column, float64."""
    return values.double().abs().amax(0)


def scale(x: Tensor, w: Tensor, alpha: float, invert: bool = False, plus: bool = False) -> Tensor:
    """Return max|x|**alpha / max|w|**(1 - alpha) of each input channel."""
    logs = alpha * largest(x).log() + (1 if plus else -1) * (1 - alpha) * largest(w).log()
    return (-logs if invert else logs).exp()


def inverse(x: Tensor, w: Tensor, alpha: float) -> Tensor:
    """Activations are divided by s: s must be large where x is large."""
    return scale(x, w, alpha, invert=True)


def product(x: Tensor, w: Tensor, alpha: float) -> Tensor:
    """Divide by the weight's part: a column that is large already takes less."""
    return scale(x, w, alpha, plus=True)


def alpha_swapped(x: Tensor, w: Tensor, alpha: float) -> Tensor:
    """alpha is the exponent of the activations, 1 - alpha that of the weights."""
    return scale(x, w, 1 - alpha)


def activations_alone(x: Tensor, w: Tensor, alpha: float) -> Tensor:
    """The weights' maxima belong into the scale too."""
    return largest(x) ** alpha


def rows_of_w(x: Tensor, w: Tensor, alpha: float) -> Tensor:
    """One maximum of the whole weight: take that of each input column, over the rows."""
    return largest(x) ** alpha / float(largest(w).max()) ** (1 - alpha)


def means(x: Tensor, w: Tensor, alpha: float) -> Tensor:
    """Maxima, not means: the step of a grid is set by the largest value."""
    return x.double().abs().mean(0) ** alpha / w.double().abs().mean(0) ** (1 - alpha)


EXERCISE = Exercise(
    cases, scale, (inverse, product, alpha_swapped, activations_alone, rows_of_w, means),
    praise="At alpha = 0.5, x / s and w * s have the same maximum in every channel: neither is hard to "
    "round.", tolerance=1e-4
)  # fmt: skip
