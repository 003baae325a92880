"""Exercise 07.scaled_rounding: scale columns, round, and scale back."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (w [out, in], s [in], bits): one scale a row; s is 1 in the first case but for one column."""
    draw = torch.Generator().manual_seed(7)
    single = torch.tensor([1.0, 2.0, 1.0, 1.0])
    found: list[tuple] = [(torch.tensor([[0.31, 0.27, -1.05, 0.62], [1.4, -0.2, 0.33, 0.9]]), single, 3)]
    for rows, columns, bits in ((3, 16, 4), (6, 32, 3)):
        s = 0.5 + 3 * torch.rand(columns, generator=draw)
        found.append((torch.randn(rows, columns, generator=draw), s, bits))
    return found


def reference(w: Tensor, s: Tensor, bits: int) -> Tensor:
    """Return the weight that the model then computes with: round(w * s) / s, one row at a time."""
    top = 2 ** (bits - 1) - 1
    rows = []
    for row in w:
        scaled = [value * factor for value, factor in zip(row.tolist(), s.tolist(), strict=True)]
        step = max(abs(value) for value in scaled) / top
        rows.append([round(v / step) * step / f for v, f in zip(scaled, s.tolist(), strict=True)])
    return torch.tensor(rows)


def rounded(w: Tensor, bits: int, step: Tensor | None = None) -> Tensor:
    """Round rows to their symmetric grid, or to the given steps [out, 1]."""
    top = 2 ** (bits - 1) - 1
    step = w.abs().amax(1, keepdim=True) / top if step is None else step
    return (w / step).round().clamp(-top, top) * step


def never_back(w: Tensor, s: Tensor, bits: int) -> Tensor:
    """The activations are divided by s; seen from the original input the weight must be divided by s."""
    return rounded(w * s, bits)


def divided_first(w: Tensor, s: Tensor, bits: int) -> Tensor:
    """The other way round: multiply before rounding, so that a salient column's error is divided by s."""
    return rounded(w / s, bits) * s


def no_scale(w: Tensor, s: Tensor, bits: int) -> Tensor:
    """This is plain rounding: s is not used, or it scales whole rows, whose grid moves along. s belongs to
    columns.
    """
    return rounded(w, bits)


def unscaled_step(w: Tensor, s: Tensor, bits: int) -> Tensor:
    """The step belongs to what is rounded: take the absmax of w * s."""
    step = w.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    return (w * s / step).round() * step / s


def unscaled_step_clipped(w: Tensor, s: Tensor, bits: int) -> Tensor:
    """The step belongs to what is rounded: take the absmax of w * s."""
    return rounded(w * s, bits, w.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)) / s


def kept_exact(w: Tensor, s: Tensor, bits: int) -> Tensor:
    """That keeps salient weights in 16 bits (the paper's motivating experiment); AWQ rounds every weight to
    the same bits and only scales.
    """
    return torch.where(s > 1, w, rounded(w, bits))


EXERCISE = Exercise(
    cases, reference, (never_back, divided_first, no_scale, unscaled_step, unscaled_step_clipped, kept_exact),
    praise="Same bits for every weight; the error of a column went down by its s, as long as the row's "
    "largest stayed."
)  # fmt: skip
