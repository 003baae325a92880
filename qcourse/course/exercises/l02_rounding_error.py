"""Exercise 02.rounding_error: what rounding to an even grid costs, before anything is rounded."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


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
    """Average the squared steps: squaring the mean step misses the coarse groups."""
    return (expected(weight, bits, size, squared=False, over=1)) ** 2 / 12


def worst_case(weight: Tensor, bits: int, size: int) -> float:
    """(step / 2)**2 is the worst case. Errors spread evenly from -step/2 to step/2; average their square."""
    return expected(weight, bits, size, over=4)


def not_squared(weight: Tensor, bits: int, size: int) -> float:
    """Square the step: the error is squared."""
    return expected(weight, bits, size, squared=False)


def step_squared(weight: Tensor, bits: int, size: int) -> float:
    """step**2 is the square of a whole step; the mean square is smaller."""
    return expected(weight, bits, size, over=1)


def one_step_for_all(weight: Tensor, bits: int, size: int) -> float:
    """Each group has its own absmax and so its own step: the largest weight of the matrix sets
    one group's.
    """
    return expected(weight, bits, weight.numel())


def steps_of_both_sides(weight: Tensor, bits: int, size: int) -> float:
    """One side of zero has 2**(b-1) - 1 steps."""
    return expected(weight, bits, size, top=True)


EXERCISE = Exercise(
    cases, expected,
    (worst_case, not_squared, step_squared, one_step_for_all, mean_step, steps_of_both_sides),
    praise="One bit more halves the step and quarters the squared error: a prediction without rounding "
    "anything."
)  # fmt: skip
