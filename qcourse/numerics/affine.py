"""Evenly spaced integer levels: the grid under GPTQ, AWQ, W8A8 and plain rounding."""

import torch
from torch import Tensor

from qcourse.numerics.checks import check_bits, check_finite, columns_of_a_group
from qcourse.numerics.types import QuantizedWeight, storable_scale

PER_CHANNEL, PER_TENSOR = -1, 0
SHRINKS = tuple(1 - 0.05 * step for step in range(11))
PART = 2**20  # values handled at once


@torch.no_grad()
def quantize_affine(
    weight: Tensor,
    bits: int,
    group_size: int = 128,
    symmetric: bool = True,
    *,
    convention: str = "full",
    storable: bool = True,
    search: bool = False,
    importance: Tensor | None = None,
) -> QuantizedWeight:
    """Round each group of input columns to 2**bits evenly spaced levels.

    weight: [out, in], finite; group_size: columns a scale, -1 a row (channel, token), 0 the whole tensor.
    convention: of symmetric grids, see `symmetric_scale`; storable: round scales so that fp16 and bf16
    hold them (codes are then chosen against the rounded scale).
    search: try ranges shrunk to a half and keep the least squared error, weighted by importance [in].
    Error of a weight between the lowest and the highest level: at most scale / 2. The range may reach beyond
    them by half a step, and by 2**-8 of itself where storable scales are rounded down.
    Raises ValueError for bits outside 2..8, values not finite, a group size that does not divide.
    Source: Frantar et al. 2022 (arXiv 2210.17323), section 2; the grid is that of GPTQModel 7.5 find_params
    and compressed-tensors 0.19 calculate_qparams, the ties of asymmetric codes are GPTQ's (see `round_to`).
    """
    check_bits(bits)
    check_finite(weight)
    groups = split_groups(weight.float(), group_size)  # [out, n_groups, group_size]
    weights = None if importance is None else split_groups(importance.float()[None], group_size)
    low, high = range_of(groups)
    if search:
        low, high = search_range(groups, low, high, bits, symmetric, weights, convention, storable)
    scale, zero_point = grid(low, high, bits, symmetric, convention, storable)
    codes = round_to(groups, scale[..., None], zero_point[..., None], bits).to(torch.uint8)
    shape = (1, 1) if group_size == PER_TENSOR else scale.shape
    parts = codes.reshape(weight.shape), scale.reshape(shape), zero_point.to(torch.int32).reshape(shape)
    stored_size = PER_CHANNEL if group_size == PER_TENSOR else group_size
    return QuantizedWeight(*parts, bits, stored_size, symmetric=symmetric)


@torch.no_grad()
def fake_quantize(values: Tensor, bits: int, group_size: int = 128, symmetric: bool = True) -> Tensor:
    """Return what the codes of `quantize_affine` stand for, without making codes; shape and dtype as given.

    values: [rows, columns]. Raises ValueError as `quantize_affine` does.
    """
    check_bits(bits)
    check_finite(values)
    groups = split_groups(values.float(), group_size)
    scale, zero_point = (part[..., None] for part in grid(*range_of(groups), bits, symmetric))
    levels = round_to(groups, scale, zero_point, bits).sub_(zero_point)
    return levels.mul_(scale).reshape(values.shape).to(values.dtype)


def split_groups(weight: Tensor, group_size: int) -> Tensor:
    """View [out, in] as [out, n_groups, columns of a group]; group size 0 gives [1, 1, out * in]."""
    if group_size == PER_TENSOR:
        return weight.reshape(1, 1, -1)
    return weight.reshape(weight.shape[0], -1, columns_of_a_group(weight.shape[1], group_size))


def range_of(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and greatest value over the last dimension, widened to include 0."""
    return groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)


def grid(
    low: Tensor, high: Tensor, bits: int, symmetric: bool, convention: str = "full", storable: bool = True
) -> tuple[Tensor, Tensor]:
    """Return scale and zero point (both float32) of the grid that spans low..high; low <= 0 <= high.

    An empty range (all zeros) gets scale 1, so that its codes are the zero point.
    """
    if symmetric:
        scale = symmetric_scale(torch.maximum(-low, high), bits, convention)
    else:
        scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    scale = storable_scale(scale) if storable else scale
    if symmetric:
        return scale, torch.full_like(scale, 2 ** (bits - 1))
    return scale, torch.round(-low / scale).clamp(0, 2**bits - 1)


def symmetric_scale(absmax: Tensor, bits: int, convention: str) -> Tensor:
    """Return the scale of a symmetric grid.

    "full": absmax / ((2**bits - 1) / 2), all 2**bits levels used, the largest positive value may be
    clipped by half a step (GPTQ, compressed-tensors; GPTQModel halves it for a group without negative
    values, which clips half of the range, and that is not followed). "restricted":
    absmax / (2**(bits-1) - 1), the textbook's and QQQ's, one level unused, nothing clipped.
    Raises ValueError for another convention.
    """
    if convention == "full":
        return absmax / ((2**bits - 1) / 2)
    if convention == "restricted":
        return absmax / (2 ** (bits - 1) - 1)
    raise ValueError(f"unknown convention {convention!r}; known are full, restricted")


def round_to(
    values: Tensor, scale: Tensor, zero_point: Tensor, bits: int, out: Tensor | None = None
) -> Tensor:
    """Return the nearest codes 0 .. 2**bits - 1 as float32, in `out` if given.

    A tie goes to the level an even number of steps from zero, as in GPTQ and AWQ. compressed-tensors adds
    the zero point before it rounds: its ties go to the even code, the other one where the zero point is odd.
    """
    return torch.div(values, scale, out=out).round_().add_(zero_point).clamp_(0, 2**bits - 1)


@torch.no_grad()
def search_range(
    groups: Tensor,
    low: Tensor,
    high: Tensor,
    bits: int,
    symmetric: bool,
    importance: Tensor | None = None,
    convention: str = "full",
    storable: bool = True,
    shrinks: tuple[float, ...] = SHRINKS,
    hessian: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the shrunk range of each group with the least (importance-weighted) squared error.

    groups: [out, n_groups, size]; low, high: [out, n_groups]; importance: [1, n_groups, size] or [size].
    hessian: [n_groups, size, size], for the error d H d^T instead; groups are then [n_groups, out, size].
    A few rows are searched at a time: what is kept meanwhile stays in cache.
    Source: the clipping search of GPTQ's --mse and of AWQ (arXiv 2306.00978, section 4.1).
    """
    rows, kept = max(1, PART // groups[0].numel()), []
    for start in range(0, len(groups), rows):
        some = slice(start, start + rows)
        grids = (low[some], high[some], bits, symmetric, convention, storable, shrinks)
        kept.append(best_shrink(groups[some], *grids, importance, None if hessian is None else hessian[some]))
    shrink = torch.cat(kept)
    return low * shrink, high * shrink


def best_shrink(
    groups, low, high, bits, symmetric, convention, storable, shrinks, importance, hessian
) -> Tensor:
    """Return the factor of each range, one of `shrinks`, with the least squared error; shaped like `low`."""
    least, best, error = torch.full_like(low, torch.inf), torch.ones_like(low), torch.empty_like(groups)
    for shrink in shrinks:
        scale, zero = grid(low * shrink, high * shrink, bits, symmetric, convention, storable)
        scale, zero = scale[..., None], zero[..., None]
        round_to(groups, scale, zero, bits, out=error).sub_(zero).mul_(scale).sub_(groups)
        total = weighted_square(error, importance, hessian)
        best = torch.where(total < least, shrink, best)
        least = torch.minimum(total, least)
    return best


def weighted_square(error: Tensor, importance: Tensor | None, hessian: Tensor | None) -> Tensor:
    """Return what `search_range` compares, a sum over the last dimension; the error may be overwritten."""
    if hessian is not None:
        return (error @ hessian).mul_(error).sum(-1)
    squares = error.square_()
    return (squares if importance is None else squares.mul_(importance)).sum(-1)


def quantize_int8(values: Tensor, *, levels: float = 127.5) -> tuple[Tensor, Tensor]:
    """Round each row to int8 about zero: codes int8 [rows, columns] and float32 scale [rows, 1].

    levels: 127.5 is compressed-tensors' grid (all 256 levels), 127 LLM.int8()'s (-128 unused).
    """
    scale = values.float().abs().amax(-1, keepdim=True) / levels
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return torch.round(values.float() / scale).clamp_(-128, 127).to(torch.int8), scale
