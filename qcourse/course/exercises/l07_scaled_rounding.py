"""Exercise 07.scaled_rounding: scale columns, round, and scale back."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips
from qcourse.course.exercises.grids import grid_slips, rounded


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


def scaled(
    w: Tensor, s: Tensor, bits: int, before=torch.mul, after=torch.div, axis: int | tuple = 1, **grid
) -> Tensor:
    """Scale before rounding and after, on a grid that may be wrong."""
    return after(rounded(before(w, s), axis, 2 ** (bits - 1) - 1, **grid), s)


def step_of_w(w: Tensor, s: Tensor, bits: int, limit: int = 10**6) -> Tensor:
    """Round w * s with the steps of w, and cut codes off at a limit."""
    step = w.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    return (w * s / step).round().clamp(-limit, limit) * step / s


def same(w: Tensor, s: Tensor) -> Tensor:
    """Return w without using s."""
    return w


WRONG = (
    *grid_slips(scaled),
    *slips("Those are codes: multiply them by their step.", codes_not_scaled_back=partial(
           scaled, after=same, back=lambda codes, step: codes)),
    *slips("The activations are divided by s; seen from the original input the weight must be divided by s.",
           never_back=partial(scaled, after=same), multiplied_again=partial(scaled, after=torch.mul)),
    *slips("The other way round: multiply before rounding, so that a salient column's error is divided by s.",
           divided_first=partial(scaled, before=torch.div, after=torch.mul)),
    *slips("This is plain rounding: s is not used, or it scales whole rows, whose grid moves along. s "
           "belongs to columns.", no_scale=partial(scaled, before=same, after=same)),
    *slips("s multiplies the weight before it is rounded, so that a salient column's error becomes small.",
           scaled_after=partial(scaled, before=same, after=torch.mul),
           divided_after=partial(scaled, before=same)),
    *slips("Each row has a step of its own: the largest magnitude along axis 1.",
           one_step=partial(scaled, axis=(0, 1)), a_step_a_column=partial(scaled, axis=0)),
    *slips("The step belongs to what is rounded: take the absmax of w * s.", unscaled_step=step_of_w,
           unscaled_step_clipped=lambda w, s, bits: step_of_w(w, s, bits, 2 ** (bits - 1) - 1)),
    *slips("That keeps salient weights in 16 bits (the paper's motivating experiment); AWQ rounds every "
           "weight to the same bits and only scales.",
           kept_exact=lambda w, s, bits: torch.where(s > 1, w, scaled(w, s, bits, same, same))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Same bits for every weight; the error of a column went down by its s, as long as the row's "
    "largest stayed."
)  # fmt: skip
