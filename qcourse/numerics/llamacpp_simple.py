"""llama.cpp's formats with blocks of 32 weights and one float16 scale and even levels: Q4_0, Q5_0, Q8_0."""

import torch
from torch import Tensor

from qcourse.numerics.half import to_half


def half_bytes(scale: Tensor) -> Tensor:
    """Return float16 scales [n] as bytes [n, 2]; ValueError for one beyond float16."""
    return half_scale(scale).reshape(-1, 1).view(torch.uint8)


def half_scale(scale: Tensor) -> Tensor:
    """Return scales as a block stores them, in float16; ValueError for one beyond it."""
    return to_half(scale, "a block's scale", "keep this weight in bfloat16")


def half_values(data: Tensor) -> Tensor:
    """Return bytes [n, 2] as float32 scales [n, 1]."""
    return data.contiguous().view(torch.float16).float()


def reciprocal(scale: Tensor) -> Tensor:
    """Return 1 / scale, and 0 where the scale is 0."""
    return torch.where(scale == 0, torch.zeros_like(scale), 1 / scale)


def signed_largest(blocks: Tensor) -> Tensor:
    """Return the value of largest magnitude of each block, with its sign: [n, 1]."""
    return blocks.gather(1, blocks.abs().argmax(1, keepdim=True))


def nibbles(codes: Tensor) -> Tensor:
    """Pack 32 4-bit codes [n, 32] into bytes [n, 16]: the first half of the block in the low nibbles."""
    return codes[:, :16] | (codes[:, 16:] << 4)


def from_nibbles(data: Tensor) -> Tensor:
    """Undo `nibbles`."""
    return torch.cat([data & 15, data >> 4], 1)


def fit_symmetric(subs: Tensor, weight: Tensor, levels: int) -> Tensor:
    """Return the scale, [n, sub-blocks], of the best grid scale * code, code -levels .. levels - 1.

    Tried are scales that send the largest weight to -levels or near it; each is refitted by weighted
    least squares. Source: make_qx_quants in ggml-quants.c.
    """
    index = subs.abs().argmax(-1, keepdim=True)
    largest = subs.gather(-1, index)
    best_scale, best_gain = torch.zeros_like(largest), torch.full_like(largest, -1)
    for step in range(-9, 10):
        inverse = -(levels + 0.1 * step) * reciprocal(largest)
        codes = torch.round(subs * inverse).clamp(-levels, levels - 1)
        along = (weight * codes * subs).sum(-1, keepdim=True)
        norm = (weight * codes.square()).sum(-1, keepdim=True)
        scale = along * reciprocal(norm)
        better = along * scale > best_gain
        best_gain, best_scale = (
            torch.where(better, along * scale, best_gain),
            torch.where(better, scale, best_scale),
        )
    return best_scale.squeeze(-1)


def offset_codes(blocks: Tensor, levels: int, importance: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return scale [n, 1] and codes 0 .. 2 * levels - 1; the lowest level meets the largest weight.

    scale = signed largest / -levels, so the extreme weight is exact and the other end may be clipped.
    With an importance [n, 32] the scale is fitted instead, each error weighted by it.
    """
    if importance is not None:
        weight = importance * (blocks.square() + mean_square(blocks) / 2).sqrt()
        scale = half_scale(fit_symmetric(blocks, weight, levels)).float()[:, None]
        codes = torch.round(blocks * reciprocal(scale)).clamp(-levels, levels - 1) + levels
        return scale, codes.to(torch.uint8)
    scale = signed_largest(blocks) / -levels
    codes = torch.trunc(blocks * reciprocal(scale) + (levels + 0.5)).clamp(0, 2 * levels - 1)
    return scale, codes.to(torch.uint8)


def pack_q4_0(blocks: Tensor, importance: Tensor | None = None) -> Tensor:
    """Pack [n, 32] into 18 bytes a block: float16 scale, 16 bytes of nibbles."""
    scale, codes = offset_codes(blocks, 8, importance)
    return torch.cat([half_bytes(scale), nibbles(codes)], 1)


def unpack_q4_0(data: Tensor) -> Tensor:
    """Return the float32 weights [n, 32] of Q4_0 blocks."""
    return half_values(data[:, :2]) * (from_nibbles(data[:, 2:]).float() - 8)


def pack_q5_0(blocks: Tensor, importance: Tensor | None = None) -> Tensor:
    """Pack [n, 32] into 22 bytes a block: float16 scale, 32 fifth bits, 16 bytes of nibbles."""
    scale, codes = offset_codes(blocks, 16, importance)
    fifth = (codes >> 4).reshape(-1, 4, 8).to(torch.int32) << torch.arange(8, device=codes.device)
    return torch.cat([half_bytes(scale), fifth.sum(2).to(torch.uint8), nibbles(codes & 15)], 1)


def unpack_q5_0(data: Tensor) -> Tensor:
    """Return the float32 weights [n, 32] of Q5_0 blocks."""
    fifth = ((data[:, 2:6, None].int() >> torch.arange(8, device=data.device)) & 1).flatten(1)
    codes = from_nibbles(data[:, 6:]).int() | (fifth << 4)
    return half_values(data[:, :2]) * (codes.float() - 16)


def pack_q8_0(blocks: Tensor, importance: Tensor | None = None) -> Tensor:
    """Pack [n, 32] into 34 bytes a block: float16 scale absmax / 127, int8 codes rounded away from zero."""
    scale = blocks.abs().amax(1, keepdim=True) / 127
    scaled = blocks * reciprocal(scale)
    codes = (scaled.sign() * (scaled.abs() + 0.5).floor()).to(torch.int8)
    return torch.cat([half_bytes(scale), codes.view(torch.uint8)], 1)


def unpack_q8_0(data: Tensor) -> Tensor:
    """Return the float32 weights [n, 32] of Q8_0 blocks."""
    return data[:, 2:].contiguous().view(torch.int8).float() * half_values(data[:, :2])


def mean_square(blocks: Tensor) -> Tensor:
    """Return twice the mean square of each block, [n, 1]: ggml's sigma2."""
    return 2 * blocks.square().mean(1, keepdim=True)
