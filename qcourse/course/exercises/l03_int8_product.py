"""Exercise 03.int8_product: a matrix product on int8 codes, one scale a token and one a column of output."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips
from qcourse.course.exercises.grids import grid_slips, rounded


def cases() -> list[tuple]:
    """Return (x [tokens, in], w [out, in]): rows of unlike sizes, so that shared scales show."""
    draw = torch.Generator().manual_seed(3)
    found = []
    for tokens, inside, outside in ((2, 4, 3), (5, 32, 7)):
        x = torch.randn(tokens, inside, generator=draw) * torch.linspace(1, 20, tokens)[:, None]
        w = torch.randn(outside, inside, generator=draw) * torch.linspace(0.05, 1, outside)[:, None]
        found.append((x, w))
    return found


def codes(values: Tensor, scale: Tensor | float) -> Tensor:
    """Return integer codes of values, as float64."""
    return (values.double() / scale).round().clamp(-127, 127)


def reference(x: Tensor, w: Tensor) -> Tensor:
    """Sum integer products one output at a time, then scale by the token's and the row's step."""
    out = torch.zeros(len(x), len(w), dtype=torch.float64)
    for t, token in enumerate(x.double()):
        for o, row in enumerate(w.double()):
            sx, sw = float(token.abs().max()) / 127, float(row.abs().max()) / 127
            out[t, o] = float((codes(token, sx) * codes(row, sw)).sum()) * sx * sw
    return out.float()


def product(x: Tensor, w: Tensor, over_x: int | tuple = 1, over_w: int | tuple = 1, **grid) -> Tensor:
    """Multiply x and w after rounding both."""
    return rounded(x, over_x, 127, **grid) @ rounded(w, over_w, 127, **grid).T


def sums(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the integer sums [tokens, out], the steps of tokens [tokens, 1] and of rows [1, out]."""
    sx, sw = x.abs().amax(1, keepdim=True) / 127, w.abs().amax(1, keepdim=True) / 127
    return codes(x, sx) @ codes(w, sw).T, sx, sw.T


def narrow_sum(x: Tensor, w: Tensor) -> Tensor:
    """int8 sums overflow: the product needs a wider accumulator (int32, or float)."""
    _, sx, sw = sums(x, w)
    return codes(x, sx).to(torch.int8) @ codes(w, sw.T).to(torch.int8).T * sx * sw


ALL = (0, 1)
FEATURE = "A scale for each input feature sits inside the sum and cannot be taken out of it: use one a "
WRONG = (
    narrow_sum,
    *grid_slips(product),
    *slips("int8 sums overflow, and cut off they are wrong too: sum in int32, or in float.",
           sums_cut_off=lambda x, w: sums(x, w)[0].clamp(-128, 127) * sums(x, w)[1] * sums(x, w)[2]),
    *slips("Nothing is rounded: that is the product in floating point.",
           in_floating_point=lambda x, w: x @ w.T),
    *slips("You rounded the weights only. W8A8 rounds the activations too, so that integers multiply.",
           weights_only=lambda x, w: x @ rounded(w, 1, 127).T),
    *slips("You rounded the activations only: integers multiply only if the weights are integers as well.",
           activations_only=lambda x, w: rounded(x, 1, 127) @ w.T),
    *slips("One scale for a whole tensor lets its largest row set every step: one a token, one a row of w.",
           per_tensor=lambda x, w: product(x, w, ALL, ALL), tensor_of_x=lambda x, w: product(x, w, ALL),
           tensor_of_w=lambda x, w: product(x, w, over_w=ALL)),
    *slips(FEATURE + "row of w.", columns_of_w=lambda x, w: product(x, w, over_w=0),
           columns_of_w_alone=lambda x, w: x @ rounded(w, 0, 127).T),
    *slips(FEATURE + "token.",
           columns_of_x=lambda x, w: product(x, w, 0), columns_of_both=lambda x, w: product(x, w, 0, 0),
           mean_of_columns=lambda x, w: sums(x.T, x.T)[1].mean() * codes(x, sums(x.T, x.T)[2])
           @ codes(w, sums(w, w)[1]).T * sums(w, w)[2]),
    *slips("The weight's scale is missing: both factors were divided.",
           token_scale_only=lambda x, w: sums(x, w)[0] * sums(x, w)[1]),
    *slips("The tokens' scale is missing: both factors were divided.",
           weight_scale_only=lambda x, w: sums(x, w)[0] * sums(x, w)[2]),
    *slips("A code is value / scale; on the way back the sums are multiplied by both scales.",
           divided_by_scales=lambda x, w: sums(x, w)[0] / sums(x, w)[1] / sums(x, w)[2],
           multiplied_first=lambda x, w: ((x * sums(x, w)[1]).round() @ (w * sums(x, w)[2].T).round().T)
           / sums(x, w)[1] / sums(x, w)[2]),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Integers inside, one multiplication by two scales outside: this is the product that LLM.int8() "
    "runs.", tolerance=0.0001
)  # fmt: skip
