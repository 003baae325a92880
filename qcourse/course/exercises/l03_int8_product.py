"""Exercise 03.int8_product: a matrix product on int8 codes, one scale a token and one a column of output."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


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


def weights_only(x: Tensor, w: Tensor) -> Tensor:
    """You rounded the weights only. W8A8 rounds the activations too: that is what lets integers multiply."""
    scale = w.abs().amax(1, keepdim=True) / 127
    return x @ (codes(w, scale) * scale).float().T


def per_tensor(x: Tensor, w: Tensor) -> Tensor:
    """One scale for the whole tensor lets the largest token set everyone's step: one a token, one a row."""
    sx, sw = x.abs().max() / 127, w.abs().max() / 127
    return (codes(x, sx) @ codes(w, sw).T * sx * sw).float()


def no_scales(x: Tensor, w: Tensor) -> Tensor:
    """Those are the integer sums: multiply by the token's and the row's scale."""
    sx, sw = x.abs().amax(1, keepdim=True) / 127, w.abs().amax(1, keepdim=True) / 127
    return codes(x, sx) @ codes(w, sw).T


def narrow_sum(x: Tensor, w: Tensor) -> Tensor:
    """int8 sums overflow: the product needs a wider accumulator (int32, or float)."""
    sx, sw = x.abs().amax(1, keepdim=True) / 127, w.abs().amax(1, keepdim=True) / 127
    return codes(x, sx).to(torch.int8) @ codes(w, sw).to(torch.int8).T * sx * sw.T


def one_scale_only(x: Tensor, w: Tensor) -> Tensor:
    """The weight's scale is missing: both factors were divided."""
    return no_scales(x, w) * (x.abs().amax(1, keepdim=True) / 127)


def per_feature(x: Tensor, w: Tensor) -> Tensor:
    """A scale for each input feature sits inside the sum and cannot be taken out of it: use one a token."""
    sx, sw = x.abs().amax(0, keepdim=True) / 127, w.abs().amax(1, keepdim=True) / 127
    return (codes(x, sx) @ codes(w, sw).T * sx.mean() * sw.T).float()


EXERCISE = Exercise(
    cases, reference, (weights_only, per_tensor, no_scales, narrow_sum, one_scale_only, per_feature),
    praise="Integers inside, one multiplication by two scales outside: this is the product that LLM.int8() "
    "runs.", tolerance=0.0001
)  # fmt: skip
