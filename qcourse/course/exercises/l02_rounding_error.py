"""Exercise 02.rounding_error: what rounding to an even grid costs, before anything is rounded."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


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


def spread(width: Tensor, steps: int) -> float:
    """Return the mean square error of groups whose step is a `steps`-th of a width."""
    return float((width / steps).square().mean() / 12)


def measured(groups: Tensor, bits: int) -> float:
    """Round each group and return the mean squared change."""
    step = groups.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    return float(((groups / step).round() * step - groups).square().mean())


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


SLIPS = (
    *slips("Rounding to the nearest level is off by half a step at most; your errors reach a whole step.",
           a_whole_step=lambda weight, bits, size: expected(weight, bits, size, over=3)),
    *slips("A row holds several groups: each group of `group_size` columns has its own absmax.",
           a_step_a_row=lambda weight, bits, size: expected(weight, bits, weight.shape[1])),
    *slips("A group lies along a row, over `group_size` columns: you took the maximum of each column.",
           a_step_a_column=lambda weight, bits, size: expected(weight.T, bits, len(weight))),
    *slips("The mean squared error is asked, not its root.",
           root=lambda weight, bits, size: expected(weight, bits, size) ** 0.5),
    *slips("step / sqrt(12) is the root of the mean square: square it before you average.",
           root_of_each=lambda weight, bits, size: expected(weight, bits, size, squared=False, over=12**0.5)),
    *slips("step / 4 is the mean magnitude of the error; asked is its mean square.",
           mean_magnitude=lambda weight, bits, size: expected(weight, bits, size, squared=False, over=4)),
    *slips("Average over the groups: a sum grows with the matrix.",
           sum_over_groups=lambda weight, bits, size: expected(weight, bits,
               size) * (weight.numel() // size)),
    *slips("Average over the weights: a sum grows with the matrix.",
           sum_over_weights=lambda weight, bits, size: expected(weight, bits, size) * weight.numel()),
    *slips("Average over the groups: a mean over groups of one size is the mean over weights.",
           divided_by_the_group=lambda weight, bits, size: expected(weight, bits, size) / size),
    *slips("Divide the sum by the number of groups, not by their size.",
           sum_divided_by_the_group=lambda weight, bits, size: expected(weight, bits,
               size) * (weight.numel() // size) / size),
    *slips("The extreme weight of a group may be negative: take the largest magnitude.",
           signed_maximum=lambda weight, bits, size: spread(weight.reshape(-1, size).amax(1),
               2 ** (bits - 1) - 1)),
    *slips("The grid is symmetric: its step is absmax over the steps of one side, not the range over all.",
           range=lambda weight, bits, size: spread(weight.reshape(-1, size).amax(1) - weight.reshape(-1,
               size).amin(1), 2**bits - 1)),
    *slips("2**b codes are for both signs: half of them lie on each side of zero.",
           all_codes_on_one_side=lambda weight, bits, size: spread(weight.reshape(-1, size).abs().amax(1),
               2**bits)),
    *slips("The absmax lies 2**(b-1) - 1 steps from zero: one code is zero itself.",
           one_step_too_many=lambda weight, bits, size: spread(weight.reshape(-1, size).abs().amax(1),
               2 ** (bits - 1))),
    *slips("That is the step of a grid that uses all 2**b codes; here it is that of exercise 1.",
           other_convention=lambda weight, bits, size: spread(2 * weight.reshape(-1, size).abs().amax(1),
               2**bits - 1)),
    *slips("reshape(-1, group_size) makes one row a group; yours makes group_size rows.",
           group_size_rows=lambda weight, bits, size: expected(weight, bits, weight.numel() // size)),
    *slips("The maximum of a group goes over its columns: amax(1), not amax(0).",
           maximum_over_the_groups=lambda weight, bits, size: expected(weight.reshape(-1, size).T, bits,
               weight.numel() // size)),
    *slips("The step is absmax divided by the number of steps on one side.",
           absmax_as_the_step=lambda weight, bits, size: spread(weight.reshape(-1, size).abs().amax(1), 1)),
    *slips("That is the error of this matrix, found by rounding; predict it from the steps alone.",
           measured=lambda weight, bits, size: measured(weight.reshape(-1, size), bits)),
    *slips("Errors of both signs cancel in the mean; their squares do not.",
           mean_error=lambda weight, bits, size: 0.0),
)  # fmt: skip

EXERCISE = Exercise(
    cases, expected,
    (worst_case, not_squared, step_squared, one_step_for_all, mean_step, steps_of_both_sides, *SLIPS),
    praise="One bit more halves the step and quarters the squared error: a prediction without rounding "
    "anything."
)  # fmt: skip
