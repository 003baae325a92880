"""Exercise 02.asymmetric_grid: scale, zero point and values of a grid that need not be centred on 0."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips

Found = tuple[float, int, Tensor]


def cases() -> list[tuple]:
    """Return (group [n], bits): mixed signs, one sign, random; ties only where the clamp bites."""
    draw = torch.Generator().manual_seed(23)
    positive = torch.tensor([0.5, 1.31, 0.87, 1.9])
    return [
        (torch.tensor([-0.4, 1.1, 0.33, 0.72]), 3), (positive, 4), (-positive, 4),
        (torch.randn(64, generator=draw) + 0.7, 4), (torch.tensor([-1.5, 1.5, 0.2, -0.7]), 2),
    ]  # fmt: skip


def grid(group: Tensor, bits: int, zero_in: bool = True, steps: int = 0, first=0, last=None,
         whole=torch.round, zero_of=round, back=None) -> Found:  # fmt: skip
    """Spread 2**bits codes over a range with 0 inside; return scale, zero point and dequantized weights.

    first, last: limits of the codes, numbers or functions of the zero point; back: from codes to weights.
    """
    low, high = float(group.min()), float(group.max())
    if zero_in:
        low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (steps or 2**bits - 1)
    zero = zero_of(-low / scale)
    lowest, highest = (limit(zero) if callable(limit) else limit for limit in (first, last or 2**bits - 1))
    codes = (whole(group.double() / scale) + zero).clamp(lowest, highest)
    return scale, zero, back(codes, zero, scale) if back else (codes - zero) * scale


def centred(group: Tensor, bits: int, zero: int) -> Found:
    """Round to the grid of exercise 1, under a zero point."""
    scale = float(group.abs().max()) / (2 ** (bits - 1) - 1)
    return scale, zero, (group.double() / scale).round() * scale


def from_low(group: Tensor, bits: int) -> Found:
    """Count steps from the lowest weight."""
    scale, zero, _ = grid(group, bits)
    low = min(float(group.min()), 0.0)
    return scale, zero, ((group.double() - low) / scale).round() * scale + low


def zero_as_weight(group: Tensor, bits: int) -> Found:
    """The zero point is a code, the one that stands for 0: round(-low / scale)."""
    scale, zero, values = grid(group, bits)
    return scale, min(float(group.min()), 0.0), values


def symmetric(group: Tensor, bits: int) -> Found:
    """That grid is centred on 0: take it from the smallest to the largest weight."""
    scale = float(group.abs().max()) * 2 / (2**bits - 1)
    zero = 2 ** (bits - 1)
    return scale, zero, (((group / scale).round() + zero).clamp(0, 2**bits - 1) - zero) * scale


def range_without_0(group: Tensor, bits: int) -> Found:
    """With all weights on one side of 0 your zero point is no code: let the range hold 0."""
    return grid(group, bits, zero_in=False)


def a_step_too_many(group: Tensor, bits: int) -> Found:
    """2**bits levels have 2**bits - 1 steps between them."""
    return grid(group, bits, steps=2**bits)


def codes_only(group: Tensor, bits: int) -> Found:
    """Return weights, (code - zero_point) * scale, not codes."""
    return grid(group, bits, back=lambda code, zero, scale: code)


SLIPS = (
    *slips("A code can come out one beyond the last: keep codes between 0 and 2**b - 1.",
           not_clamped=lambda group, bits: grid(group, bits, last=9**9)),
    *slips("With all weights on one side of 0 your zero point is no code: let the range hold 0.",
           range_without_0_not_clamped=lambda group, bits: grid(group, bits, zero_in=False, last=9**9)),
    *slips("2**(b-1) - 1 are the steps on one side of a symmetric grid; here 2**b codes share the range.",
           steps_of_one_side=lambda group, bits: grid(group, bits, steps=2 ** (bits - 1) - 1)),
    *slips("2**b levels have 2**b - 1 steps between them.",
           a_step_too_many_not_clamped=lambda group, bits: grid(group, bits, steps=2**bits, last=9**9)),
    *slips("A code stands for (code - zero_point) * scale: in yours no code stands for a negative weight.",
           zero_point_not_subtracted=lambda group, bits: grid(group, bits,
           back=lambda code, zero, scale: code * scale),
           zero_point_not_subtracted_not_clamped=lambda group, bits: grid(group, bits, last=9**9,
           back=lambda code, zero, scale: code * scale)),
    *slips("The zero point is a code: subtract it before you multiply by the scale.",
           zero_point_after_the_scale=lambda group, bits: grid(group, bits,
           back=lambda code, zero, scale: code * scale - zero)),
    *slips("Going back, subtract the zero point that was added.",
           zero_point_added=lambda group, bits: grid(group, bits,
           back=lambda code, zero, scale: (code + zero) * scale)),
    *slips("Round to the nearest code: floor always goes down.",
           floor=lambda group, bits: grid(group, bits, whole=torch.floor)),
    *slips("Round to the nearest code: cutting off always goes towards 0.",
           truncated=lambda group, bits: grid(group, bits, whole=torch.trunc)),
    *slips("Round the zero point to the nearest code; int() and // cut off.",
           zero_point_cut_off=lambda group, bits: grid(group, bits, zero_of=int)),
    *slips("The zero point is stored as a code: round it to an integer.",
           zero_point_not_rounded=lambda group, bits: grid(group, bits, zero_of=float)),
    *slips("The zero point is a code, 0 to 2**b - 1: low is negative, so its sign turns.",
           zero_point_negative=lambda group, bits: (grid(group, bits)[0], -grid(group, bits)[1],
               grid(group, bits)[2])),
    *slips("The zero point counts the steps from the lowest weight up to 0, not from 0 to the highest.",
           zero_point_from_the_top=lambda group, bits: (grid(group, bits)[0], 2**bits - 1 - grid(group,
               bits)[1], grid(group, bits)[2])),
    *slips("Codes run from 0 here; yours are cut off as signed codes.",
           clamped_as_signed=lambda group, bits: grid(group, bits, first=lambda zero: zero - 2 ** (bits - 1),
           last=lambda zero: zero + 2 ** (bits - 1) - 1)),
    *slips("Add the zero point before you clamp: until then negative weights have negative codes.",
           clamped_too_early=lambda group, bits: grid(group, bits, first=lambda zero: zero,
           last=lambda zero: zero + 2**bits - 1)),
    *slips("The last of 2**b codes, counted from 0, is 2**b - 1.",
           a_code_too_few=lambda group, bits: grid(group, bits, last=2**bits - 2)),
    *slips("That grid is centred on 0: take it from the smallest to the largest weight.",
           symmetric_steps=lambda group, bits: centred(group, bits, 2 ** (bits - 1))),
    *slips("That is the symmetric grid of exercise 1: take it from the smallest to the largest weight.",
           symmetric_without_zero_point=lambda group, bits: centred(group, bits, 0)),
    *slips("Yours counts steps from the lowest weight, so that 0 is no level: round the zero point first.",
           low_not_on_the_grid=lambda group, bits: from_low(group, bits)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, grid,
    (range_without_0, a_step_too_many, codes_only, zero_as_weight, symmetric, *SLIPS),
    praise="All codes are used, also where a group lies to one side; the price is a stored zero point.",
    tolerance=1e-4
)  # fmt: skip
