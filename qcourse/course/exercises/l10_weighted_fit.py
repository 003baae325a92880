"""Exercise 10.weighted_fit: scale and minimum of a Q4_K sub-block by least squares, with importance."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (weights [32], codes [32] from 0 to 15, importance [32])."""
    draw = torch.Generator().manual_seed(103)
    found = []
    for size in (0.02, 1.0):
        block = torch.randn(32, generator=draw).double() * size
        low, step = block.min(), (block.max() - block.min()) / 15
        importance = torch.rand(32, generator=draw).double() ** 3 + 0.01
        found.append((block, ((block - low) / step).round(), importance))
    return found


def fit(block: Tensor, codes: Tensor, importance: Tensor, power: float = 0.5, minimum: bool = True) -> tuple:
    """Solve the weighted least squares for block = scale * codes - minimum; return (scale, minimum)."""
    columns = torch.stack([codes, -torch.ones_like(codes) if minimum else torch.zeros_like(codes)], 1)
    root = importance**power
    if not minimum:
        scale = (importance * codes * block).sum() / (importance * codes * codes).sum()
        return float(scale), 0.0
    solved = torch.linalg.lstsq(columns * root[:, None], (block * root)[:, None]).solution[:, 0]
    return float(solved[0]), float(solved[1])


def by_range(block: Tensor, codes: Tensor, importance: Tensor) -> tuple:
    """That is the range from smallest to largest: fit scale and minimum to the codes."""
    return float(block.max() - block.min()) / 15, -float(block.min())


def no_importance(block: Tensor, codes: Tensor, importance: Tensor) -> tuple:
    """All errors count alike in yours: multiply each square by its importance."""
    return fit(block, codes, importance, power=0)


def importance_squared(block: Tensor, codes: Tensor, importance: Tensor) -> tuple:
    """The importance weighs the squared error; if you scale rows of a system, scale by its root."""
    return fit(block, codes, importance, power=1)


def no_minimum(block: Tensor, codes: Tensor, importance: Tensor) -> tuple:
    """Only the scale is fitted: the minimum is free as well."""
    return fit(block, codes, importance, minimum=False)


def sign_of_the_minimum(*case: object) -> tuple:
    """The minimum is subtracted: weight = scale * code - minimum, so it is positive for a negative weight."""
    return (fit(*case)[0], -fit(*case)[1])


EXERCISE = Exercise(
    cases, fit, (by_range, no_importance, importance_squared, no_minimum, sign_of_the_minimum),
    praise="llama.cpp does this for 21 choices of codes and keeps the best: that is Q4_K's quantizer.",
    tolerance=1e-6
)  # fmt: skip
