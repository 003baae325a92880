"""Exercise 11.kv_rounded: round the keys or values of a head with a scale a token, or a scale a channel."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips
from qcourse.course.exercises.grids import grid_slips, rounded


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


def shared(values: Tensor, bits: int, kind: str, axis_of=lambda kind: 1 if kind == "token" else 0,
           **grid) -> Tensor:  # fmt: skip
    """Round with one scale along an axis, on a grid that may be wrong."""
    return rounded(values, axis_of(kind), 2 ** (bits - 1) - 1, **grid)


def asymmetric(values: Tensor, bits: int, kind: str) -> Tensor:
    """That grid runs from the smallest to the largest: asked is a symmetric one, centred on 0."""
    axis = 1 if kind == "token" else 0
    low, high = values.amin(axis, keepdim=True), values.amax(axis, keepdim=True)
    step = (high - low) / (2**bits - 1)
    return ((values - low) / step).round() * step + low


WRONG = (
    asymmetric, *grid_slips(shared),
    *slips("The axes are exchanged: by token the numbers of one row share a scale, so the maximum goes over "
           "the channels (axis 1).",
           swapped=partial(shared, axis_of=lambda kind: 0 if kind == "token" else 1)),
    *slips("`kind` is not looked at: one scale a token, or one a channel.",
           always_token=partial(shared, axis_of=lambda kind: 1),
           always_channel=partial(shared, axis_of=lambda kind: 0)),
    *slips("One scale for all: take the maximum along one axis and keep the other.",
           one_scale=partial(shared, axis_of=lambda kind: (0, 1))),
    *slips("absmax must land on 2**(bits - 1) - 1: there is no code 2**(bits - 1).",
           cut_at_the_end=lambda values, bits, kind: shared(
               values, bits, kind, last=lambda top: top + 1, whole=lambda codes: codes.round().clamp(
                   -(2 ** (bits - 1)), 2 ** (bits - 1) - 1))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="The same bits, shared differently: which way is better depends on where the outliers lie."
)  # fmt: skip
