"""Exercise 11.kv_rounded: round the keys or values of a head with a scale a token, or a scale a channel."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (values [tokens, head_dim], bits, what shares no scale: "token" or "channel")."""
    draw = torch.Generator().manual_seed(11)
    small = torch.tensor([[1.2, -3.5, 0.5], [2.0, 8.0, -0.3]])
    large = torch.randn(12, 8, generator=draw)
    large[:, 3] *= 20
    return [(small, 4, "token"), (small, 4, "channel"), (large, 8, "token"), (large, 3, "channel")]


def reference(values: Tensor, bits: int, kind: str) -> Tensor:
    """Round row by row or column by column."""
    out, largest = values.clone(), 2 ** (bits - 1) - 1
    for part in out if kind == "token" else out.T:  # views: what is written there is written in `out`
        step = float(part.abs().max()) / largest
        for index, value in enumerate(part.tolist()):
            part[index] = round(value / step) * step
    return out


def rounded(values: Tensor, bits: int, axis: int | None, largest: float | None = None) -> Tensor:
    """Round with one scale along an axis (None: one in all)."""
    largest = largest or 2 ** (bits - 1) - 1
    absmax = values.abs().max() if axis is None else values.abs().amax(axis, keepdim=True)
    return (values * largest / absmax).round() * absmax / largest


def axis_of(kind: str) -> int:
    """Return the axis along which values share a scale."""
    return 1 if kind == "token" else 0


def swapped(values: Tensor, bits: int, kind: str) -> Tensor:
    """The axes are exchanged: "token" means that the numbers of one row share a scale, so the maximum goes
    over the channels (axis 1).
    """
    return rounded(values, bits, 1 - axis_of(kind))


def one_scale(values: Tensor, bits: int, kind: str) -> Tensor:
    """One scale for all: take the maximum along one axis and keep the other."""
    return rounded(values, bits, None)


def codes(values: Tensor, bits: int, kind: str) -> Tensor:
    """Those are the codes: multiply them by their scale again."""
    return (values / values.abs().amax(axis_of(kind), keepdim=True) * (2 ** (bits - 1) - 1)).round()


def unsigned(values: Tensor, bits: int, kind: str) -> Tensor:
    """One bit is the sign: codes go from -(2**(bits - 1) - 1) to 2**(bits - 1) - 1."""
    return rounded(values, bits, axis_of(kind), 2**bits - 1)


def power_of_two(values: Tensor, bits: int, kind: str) -> Tensor:
    """absmax must land on 2**(bits - 1) - 1: there is no code 2**(bits - 1)."""
    return rounded(values, bits, axis_of(kind), 2 ** (bits - 1))


def signed_maximum(values: Tensor, bits: int, kind: str) -> Tensor:
    """Take the largest magnitude, not the largest value: a row may be negative."""
    largest = 2 ** (bits - 1) - 1
    step = values.amax(axis_of(kind), keepdim=True) / largest
    return (values / step).round().clamp(-largest, largest) * step


EXERCISE = Exercise(
    cases, reference, (swapped, one_scale, codes, unsigned, power_of_two, signed_maximum),
    praise="The same bits, shared differently: which way is better depends on where the outliers lie."
)  # fmt: skip
