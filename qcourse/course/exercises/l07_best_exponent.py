"""Exercise 07.best_exponent: AWQ's search, on plain symmetric rows."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, Misconception


def cases() -> list[tuple]:
    """Return (x [tokens, in], w [out, in], bits); a few inputs are large and their columns small."""
    draw = torch.Generator().manual_seed(73)
    found = []
    for tokens, inside, factor in ((16, 16, 12.0), (32, 32, 6.0), (40, 24, 30.0)):
        size = torch.ones(inside, dtype=torch.float64)
        size[: inside // 8] = factor
        x = torch.randn(tokens, inside, generator=draw, dtype=torch.float64) * size
        found.append((x, torch.randn(8, inside, generator=draw, dtype=torch.float64) / size.sqrt(), 3))
    return found


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


EXERCISE = Exercise(
    cases=cases,
    reference=search,
    misconceptions=(
        Misconception(
            "weight error",
            partial(search, output=False),
            "You compare weights. What counts is the output, x @ change.T: there a large input weighs "
            "its column.",
        ),
        Misconception(
            "not undone",
            partial(search, back=False),
            "Divide by s after rounding, or scaling itself counts as error.",
        ),
        Misconception(
            "divided",
            partial(search, sign=-1),
            "Yours is always 0, plain rounding: is w scaled up where x is large, w * s, then / s?",
        ),
        Misconception(
            "tenths", partial(search, tried=11), "Try 21 exponents, 0 to 1 in steps of 1/20: you stop at 0.5."
        ),
        Misconception(
            "always 1", lambda x, w, bits: 1.0, "Nothing is searched: at 1 a column may set its row's step."
        ),
    ),
    praise="One number a layer, no gradient, no inverse: this is AWQ's search.",
    tolerance=1e-6,
)
