"""llama.cpp's IQ4_NL: blocks of 32 weights, one float16 scale, sixteen uneven levels."""

import torch
from torch import Tensor

from qcourse.numerics.llamacpp_simple import (
    from_nibbles,
    half_bytes,
    half_scale,
    half_values,
    mean_square,
    nibbles,
    reciprocal,
    signed_largest,
)

IQ4_NL_VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def pack_iq4_nl(blocks: Tensor, importance: Tensor | None = None) -> Tensor:
    """Pack [n, 32] into 18 bytes a block: float16 scale, nibbles that index sixteen uneven levels.

    Tried are scales that send the largest weight near either end of the table; for each choice of codes the
    scale is the weighted least-squares one, as in ggml's quantize_row_iq4_nl_impl.
    """
    values = torch.tensor(IQ4_NL_VALUES, dtype=torch.float32, device=blocks.device)
    weight = (
        blocks.square() if importance is None else importance * (blocks.square() + mean_square(blocks)).sqrt()
    )
    largest = signed_largest(blocks)
    best_scale, best_gain = torch.zeros_like(largest), torch.full_like(largest, -1)
    for end in [sign * (step - 127) for sign in (1, -1) for step in range(-7, 8)]:
        levels = values[nearest_value(blocks * end * reciprocal(largest), values).long()]
        along, norm = (
            (weight * levels * blocks).sum(1, keepdim=True),
            (weight * levels.square()).sum(1, keepdim=True),
        )
        scale = along * reciprocal(norm)
        better = along * scale > best_gain
        best_gain = torch.where(better, along * scale, best_gain)
        best_scale = torch.where(better, scale, best_scale)
    stored = half_scale(best_scale).float()
    codes = nearest_value(blocks * reciprocal(stored), values)
    return torch.cat([half_bytes(stored), nibbles(codes)], 1)


def nearest_value(scaled: Tensor, values: Tensor) -> Tensor:
    """Return the index of the nearest of the rising `values`, uint8."""
    return torch.bucketize(scaled, (values[:-1] + values[1:]) / 2).to(torch.uint8)


def unpack_iq4_nl(data: Tensor) -> Tensor:
    """Return the float32 weights [n, 32] of IQ4_NL blocks."""
    values = torch.tensor(IQ4_NL_VALUES, dtype=torch.float32, device=data.device)
    return half_values(data[:, :2]) * values[from_nibbles(data[:, 2:]).long()]
