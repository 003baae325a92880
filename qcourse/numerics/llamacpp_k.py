"""llama.cpp's K-quants: super-blocks of 256 weights whose sub-block scales are themselves integers."""

import torch
from torch import Tensor

from qcourse.numerics.llamacpp_simple import (
    fit_symmetric,
    half_bytes,
    half_scale,
    half_values,
    reciprocal,
    signed_largest,
)


def pack_q4_k(blocks: Tensor, importance: Tensor | None = None) -> Tensor:
    """Pack [n, 256] into 144 bytes: two float16 scales, 12 bytes of 6-bit scales and minima, 128 of nibbles.

    Eight sub-blocks of 32 have weight = d * scale * code - dmin * minimum, code 0 .. 15.
    """
    subs = blocks.unflatten(1, (8, 32))
    weight = sub_weights(subs, importance, blocks)
    scale, minimum = fit_affine(subs, weight, 15)
    d, dmin = scale.amax(1, keepdim=True) / 63, minimum.amax(1, keepdim=True) / 63
    scales = torch.round(scale * reciprocal(d)).clamp(0, 63).to(torch.uint8)
    minima = torch.round(minimum * reciprocal(dmin)).clamp(0, 63).to(torch.uint8)
    d, dmin = half_scale(d).float(), half_scale(dmin).float()
    scales, minima = better_neighbours(subs, weight, d, dmin, scales, minima)
    step, low = (d * scales)[..., None], (dmin * minima)[..., None]
    codes = torch.round((subs + low) * reciprocal(step)).clamp(0, 15).to(torch.uint8).unflatten(1, (4, 2))
    packed = (codes[:, :, 0] | (codes[:, :, 1] << 4)).flatten(1)
    return torch.cat([half_bytes(d), half_bytes(dmin), pack_six_bits(scales, minima), packed], 1)


def unpack_q4_k(data: Tensor) -> Tensor:
    """Return the float32 weights [n, 256] of Q4_K super-blocks."""
    d, dmin = half_values(data[:, :2]), half_values(data[:, 2:4])
    scales, minima = unpack_six_bits(data[:, 4:16])
    pairs = data[:, 16:].unflatten(1, (4, 32))
    codes = torch.stack([pairs & 15, pairs >> 4], 2).flatten(1, 2).float()
    return ((d * scales.float())[..., None] * codes - (dmin * minima.float())[..., None]).flatten(1)


def sub_weights(subs: Tensor, importance: Tensor | None, blocks: Tensor) -> Tensor:
    """Return how much each weight's error counts: ggml's rms + |x|, or importance * sqrt(sigma2 + x**2)."""
    if importance is None:
        return subs.square().mean(-1, keepdim=True).sqrt() + subs.abs()
    spread = 2 * blocks.square().mean(1)[:, None, None]
    return importance.unflatten(1, subs.shape[1:]) * (spread + subs.square()).sqrt()


def fit_affine(subs: Tensor, weight: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Return scale and minimum (>= 0), [n, sub-blocks], of the best grid scale * code - minimum found.

    Tried are 21 ranges around the sub-block's own; for each choice of codes, scale and minimum are the
    weighted least-squares ones. Source: make_qkx2_quants in ggml-quants.c.
    """
    low, high = subs.amin(-1, keepdim=True).clamp(max=0), subs.amax(-1, keepdim=True)
    best_scale, best_low = (high - low) / largest, low
    best = grid_error(subs, weight, best_scale, best_low, largest)
    for step in range(21):
        inverse = reciprocal((high - low) / (largest - 1 + 0.1 * step))
        codes = torch.round((subs - low) * inverse).clamp(0, largest)
        scale, start = least_squares(codes, subs, weight)
        error = grid_error(subs, weight, scale, start, largest)
        better = (error < best) & (scale > 0)
        best = torch.where(better, error, best)
        best_scale, best_low = torch.where(better, scale, best_scale), torch.where(better, start, best_low)
    return best_scale.squeeze(-1), -best_low.squeeze(-1)


def better_neighbours(
    subs: Tensor, weight: Tensor, d: Tensor, dmin: Tensor, scales: Tensor, minima: Tensor
) -> tuple[Tensor, Tensor]:
    """Return 6-bit scales and minima, uint8 [n, sub-blocks], moved by at most one where that errs less.

    Rounding each to the nearest ignores that a larger scale wants a larger minimum; llama.cpp leaves it so.
    """
    best: Tensor | None = None
    found: tuple[Tensor, ...] = (scales, minima)
    for move in ((0, 0), (0, 1), (0, -1), (1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1)):
        scale, low = ((part.int() + by).clamp(0, 63) for part, by in zip((scales, minima), move, strict=True))
        error = grid_error(subs, weight, (d * scale)[..., None], -(dmin * low)[..., None], 15).squeeze(-1)
        better = error < (torch.inf if best is None else best)
        best = error if best is None else torch.where(better, error, best)
        found = tuple(torch.where(better, new, old) for new, old in zip((scale, low), found, strict=True))
    return found[0].to(torch.uint8), found[1].to(torch.uint8)


def grid_error(subs: Tensor, weight: Tensor, scale: Tensor, low: Tensor, largest: int) -> Tensor:
    """Return the weighted squared error of rounding to the grid scale * code + low, [n, sub-blocks, 1]."""
    codes = torch.round((subs - low) * reciprocal(scale)).clamp(0, largest)
    return (weight * (scale * codes + low - subs).square()).sum(-1, keepdim=True)


def least_squares(codes: Tensor, subs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and low <= 0 that minimise the weighted error of scale * codes + low."""
    total, c, x = (part.sum(-1, keepdim=True) for part in (weight, weight * codes, weight * subs))
    cc, cx = (part.sum(-1, keepdim=True) for part in (weight * codes.square(), weight * codes * subs))
    determinant = reciprocal(total * cc - c * c)
    scale, low = (total * cx - c * x) * determinant, (cc * x - c * cx) * determinant
    alone = cx * reciprocal(cc)  # a grid may not start above 0: then only the scale is fitted
    return torch.where(low > 0, alone, scale), low.clamp(max=0)


def pack_six_bits(scales: Tensor, minima: Tensor) -> Tensor:
    """Pack eight 6-bit scales and minima [n, 8] into 12 bytes: the last four lend their high bits upwards."""
    first = scales[:, :4] | ((scales[:, 4:] >> 4) << 6)
    second = minima[:, :4] | ((minima[:, 4:] >> 4) << 6)
    third = (scales[:, 4:] & 15) | ((minima[:, 4:] & 15) << 4)
    return torch.cat([first, second, third], 1)


def unpack_six_bits(data: Tensor) -> tuple[Tensor, Tensor]:
    """Undo `pack_six_bits`: scales and minima, uint8 [n, 8]."""
    first, second, third = data[:, :4], data[:, 4:8], data[:, 8:]
    scales = torch.cat([first & 63, (third & 15) | ((first >> 6) << 4)], 1)
    minima = torch.cat([second & 63, (third >> 4) | ((second >> 6) << 4)], 1)
    return scales, minima


def pack_q6_k(blocks: Tensor, importance: Tensor | None = None) -> Tensor:
    """Pack [n, 256] into 210 bytes: 128 of low nibbles, 64 of high bit pairs, 16 int8 scales, float16 d.

    Sixteen sub-blocks of 16 have weight = d * scale * code, code -32 .. 31.
    """
    subs = blocks.unflatten(1, (16, 16))
    weight = subs.square() if importance is None else importance.unflatten(1, (16, 16))
    scale = fit_symmetric(subs, weight, 32)
    d = signed_largest(scale) / -128
    scales = torch.round(scale * reciprocal(d)).clamp(-128, 127)
    d = half_scale(d).float()
    codes = torch.round(subs * reciprocal((d * scales)[..., None])).clamp(-32, 31) + 32
    halves = codes.to(torch.uint8).reshape(-1, 2, 4, 32)  # two halves of 128, each four runs of 32
    low, high = halves & 15, halves >> 4
    lows = torch.stack([low[:, :, 0] | (low[:, :, 2] << 4), low[:, :, 1] | (low[:, :, 3] << 4)], 2)
    highs = high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)
    bytes_of_scales = scales.to(torch.int8).view(torch.uint8)
    return torch.cat([lows.flatten(1), highs.flatten(1), bytes_of_scales, half_bytes(d)], 1)


def unpack_q6_k(data: Tensor) -> Tensor:
    """Return the float32 weights [n, 256] of Q6_K super-blocks."""
    lows = data[:, :128].reshape(-1, 2, 2, 32)
    highs = data[:, 128:192].reshape(-1, 2, 32)
    runs = [
        (lows[:, :, run % 2] >> (4 * (run // 2))) & 15 | (((highs >> (2 * run)) & 3) << 4) for run in range(4)
    ]
    codes = torch.stack(runs, 2).reshape(-1, 16, 16).float() - 32
    scales = data[:, 192:208].contiguous().view(torch.int8).float()
    return ((half_values(data[:, 208:]) * scales)[..., None] * codes).flatten(1)
