"""Exercise 07.best_exponent: AWQ's search, on plain symmetric rows."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slip


def cases() -> list[tuple]:
    """Return (x [tokens, in], w [out, in], bits); a few inputs are large and their columns small."""
    draw = torch.Generator().manual_seed(73)
    found = []
    for tokens, inside, factor in ((16, 16, 12.0), (32, 32, 6.0), (40, 24, 30.0)):
        size = torch.ones(inside, dtype=torch.float64)
        size[: inside // 8] = factor
        x = torch.randn(tokens, inside, generator=draw, dtype=torch.float64) * size
        found.append((x, torch.randn(8, inside, generator=draw, dtype=torch.float64) / size.sqrt(), 3))
    draw.manual_seed(9)  # here 1 is the best
    size = torch.logspace(0, 1.3, 16, dtype=torch.float64)
    x = torch.randn(24, 16, generator=draw, dtype=torch.float64) * size
    return [*found, (x, torch.randn(8, 16, generator=draw, dtype=torch.float64) / size, 3)]


def search(
    x: Tensor, w: Tensor, bits: int, back: bool = True, output: bool = True, sign: int = 1, tried: int = 21
) -> float:
    """Return the exponent of i / 20 with the least squared output error; the first of equals."""
    errors = []
    for i in range(tried):
        s = x.abs().mean(0) ** (sign * i / 20)
        step = (w * s).abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        change = (w * s / step).round() * step / (s if back else 1) - w
        errors.append(float(((x @ change.T) if output else change).square().sum()))
    return errors.index(min(errors)) / 20


def weight_error(x: Tensor, w: Tensor, bits: int) -> float:
    """You compare weights. What counts is the output, x @ change.T: there a large input weighs its column."""
    return search(x, w, bits, output=False)


def not_undone(x: Tensor, w: Tensor, bits: int) -> float:
    """Divide by s after rounding, or scaling itself counts as error."""
    return search(x, w, bits, back=False)


def divided(x: Tensor, w: Tensor, bits: int) -> float:
    """Yours is always 0, plain rounding: is w scaled up where x is large, w * s, then / s?"""
    return search(x, w, bits, sign=-1)


def tenths(x: Tensor, w: Tensor, bits: int) -> float:
    """Try 21 exponents, 0 to 1 in steps of 1/20: you stop at 0.5."""
    return search(x, w, bits, tried=11)


def always_one(x: Tensor, w: Tensor, bits: int) -> float:
    """Nothing is searched: at 1 a column may set its row's step."""
    return 1.0


SLIPS = (
    slip("1 left out", "The last exponent to try is 1 itself: range(21), not range(20).",
         lambda x, w, bits: search(x, w, bits, tried=20)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, search,
    (weight_error, not_undone, divided, tenths, always_one, *SLIPS),
    praise="One number a layer, no gradient, no inverse: this is AWQ's search.", tolerance=1e-6
)  # fmt: skip
