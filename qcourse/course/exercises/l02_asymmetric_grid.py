"""Exercise 02.asymmetric_grid: scale, zero point and values of a grid that need not be centred on 0."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise

Found = tuple[float, int, Tensor]


def cases() -> list[tuple]:
    """Return (group [n], bits): mixed signs, all positive, all negative, random; no tie."""
    draw = torch.Generator().manual_seed(23)
    positive = torch.tensor([0.5, 1.31, 0.87, 1.9])
    return [
        (torch.tensor([-0.4, 1.1, 0.33, 0.72]), 3), (positive, 4), (-positive, 4),
        (torch.randn(64, generator=draw) + 0.7, 4),
    ]  # fmt: skip


def grid(
    group: Tensor, bits: int, zero_in: bool = True, levels: int = 1, clipped: bool = True, codes: bool = False
) -> Found:
    """Spread 2**bits codes over a range with 0 inside; return scale, zero point and dequantized weights."""
    low, high = float(group.min()), float(group.max())
    if zero_in:
        low, high = min(low, 0.0), max(high, 0.0)
    top = 2**bits - 1
    scale = (high - low) / (2**bits - levels)
    zero = round(-low / scale)
    found = (group.double() / scale).round() + zero
    found = found.clamp(0, top) if clipped else found
    return scale, zero, found if codes else (found - zero) * scale


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
    return grid(group, bits, levels=0)


def codes_only(group: Tensor, bits: int) -> Found:
    """Return weights, (code - zero_point) * scale, not codes."""
    return grid(group, bits, codes=True)


EXERCISE = Exercise(
    cases, grid, (range_without_0, a_step_too_many, codes_only, zero_as_weight, symmetric),
    praise="All codes are used, also where a group lies to one side; the price is a stored zero point.",
    tolerance=1e-4
)  # fmt: skip
