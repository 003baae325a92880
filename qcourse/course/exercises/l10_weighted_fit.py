"""Exercise 10.weighted_fit: scale and minimum of a Q4_K sub-block by least squares, with importance."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, Misconception


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
    """Take the range from minimum to maximum."""
    return float(block.max() - block.min()) / 15, -float(block.min())


EXERCISE = Exercise(
    cases=cases,
    reference=fit,
    misconceptions=(
        Misconception(
            "range",
            by_range,
            "That is the range from smallest to largest: fit scale and minimum to the codes.",
        ),
        Misconception(
            "no importance",
            partial(fit, power=0),
            "All errors count alike in yours: multiply each square by its importance.",
        ),
        Misconception(
            "importance squared",
            partial(fit, power=1),
            "The importance weighs the squared error; if you scale rows of a system, scale by its root.",
        ),
        Misconception(
            "no minimum",
            partial(fit, minimum=False),
            "Only the scale is fitted: the minimum is free as well.",
        ),
        Misconception(
            "sign of the minimum",
            lambda *case: (fit(*case)[0], -fit(*case)[1]),
            "The minimum is subtracted: weight = scale * code - minimum, so it is positive for a "
            "negative weight.",
        ),
    ),
    praise="llama.cpp does this for 21 choices of codes and keeps the best: that is Q4_K's quantizer.",
    tolerance=1e-6,
)
