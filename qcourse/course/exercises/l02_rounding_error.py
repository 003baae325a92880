"""Exercise 02.rounding_error: what rounding to an even grid costs, before anything is rounded."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, Misconception


def cases() -> list[tuple]:
    """Return (weight [out, in], bits, group_size)."""
    draw = torch.Generator().manual_seed(22)
    small = torch.tensor([[0.3, -1.2, 0.6, 0.1]])
    return [(small, 3, 4), (small, 3, 2), (torch.randn(8, 64, generator=draw), 4, 16)]


def expected(
    weight: Tensor, bits: int, size: int, squared: bool = True, over: float = 12, top: bool = False
) -> float:
    """Average step**2 / 12 over groups, one group at a time."""
    steps = []
    for group in weight.reshape(-1, size).tolist():
        steps.append(max(abs(value) for value in group) / (2**bits - 1 if top else 2 ** (bits - 1) - 1))
    return sum((step**2 if squared else step) / over for step in steps) / len(steps)


def mean_step(weight: Tensor, bits: int, size: int) -> float:
    """Square the mean of the steps."""
    return (expected(weight, bits, size, squared=False, over=1)) ** 2 / 12


EXERCISE = Exercise(
    cases=cases,
    reference=expected,
    misconceptions=(
        Misconception(
            "worst case",
            partial(expected, over=4),
            "(step / 2)**2 is the worst case. Errors spread evenly from -step/2 to step/2; average "
            "their square.",
        ),
        Misconception(
            "not squared", partial(expected, squared=False), "Square the step: the error is squared."
        ),
        Misconception(
            "step squared",
            partial(expected, over=1),
            "step**2 is the square of a whole step; the mean square is smaller.",
        ),
        Misconception(
            "one step for all",
            lambda weight, bits, size: expected(weight, bits, weight.numel()),
            "Each group has its own absmax and so its own step: the largest weight of the matrix sets "
            "one group's.",
        ),
        Misconception(
            "mean step first",
            mean_step,
            "Average the squared steps: squaring the mean step misses the coarse groups.",
        ),
        Misconception(
            "2**b - 1 steps", partial(expected, top=True), "One side of zero has 2**(b-1) - 1 steps."
        ),
    ),
    praise="One bit more halves the step and quarters the squared error: a prediction without "
    "rounding anything.",
)
