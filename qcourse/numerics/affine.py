"""Evenly spaced integer levels: the grid under GPTQ, AWQ, W8A8 and plain rounding."""

from typing import Any

import torch
from torch import Tensor

from qcourse.numerics.checks import check_bits, check_finite
from qcourse.numerics.grid import PER_CHANNEL, PER_TENSOR, Grid, range_of, split_groups
from qcourse.numerics.range_search import search_range
from qcourse.numerics.types import QuantizedWeight


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
    and compressed-tensors 0.19 calculate_qparams, the ties of asymmetric codes are GPTQ's (see `Grid.codes`).
    """
    check_bits(bits)
    check_finite(weight)
    groups = split_groups(weight.float(), group_size)  # [out, n_groups, group_size]
    kind: dict[str, Any] = dict(bits=bits, symmetric=symmetric, convention=convention, storable=storable)
    weights = None if importance is None else split_groups(importance.float()[None], group_size)
    low, high = search_range(groups, importance=weights, **kind) if search else range_of(groups)
    grid = Grid.spanning(low, high, **kind)
    codes = grid[..., None].codes(groups).to(torch.uint8).reshape(weight.shape)
    shape = (1, 1) if group_size == PER_TENSOR else grid.scale.shape
    zero_point = grid.zero_point.to(torch.int32).reshape(shape)
    stored_size = PER_CHANNEL if group_size == PER_TENSOR else group_size
    scale = grid.scale.reshape(shape)
    return QuantizedWeight(codes, scale, zero_point, bits, stored_size, symmetric=symmetric)


@torch.no_grad()
def fake_quantize(values: Tensor, bits: int, group_size: int = 128, symmetric: bool = True) -> Tensor:
    """Return what the codes of `quantize_affine` stand for, without making codes; shape and dtype as given.

    values: [rows, columns]. Raises ValueError as `quantize_affine` does.
    """
    check_bits(bits)
    check_finite(values)
    groups = split_groups(values.float(), group_size)
    grid = Grid.spanning(*range_of(groups), bits, symmetric)[..., None]
    return grid.round(groups).reshape(values.shape).to(values.dtype)


def quantize_int8(values: Tensor, *, levels: float = 127.5) -> tuple[Tensor, Tensor]:
    """Round each row to int8 about zero: codes int8 [rows, columns] and float32 scale [rows, 1].

    levels: 127.5 is compressed-tensors' grid (all 256 levels), 127 LLM.int8()'s (-128 unused).
    """
    scale = values.float().abs().amax(-1, keepdim=True) / levels
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return torch.round(values.float() / scale).clamp_(-128, 127).to(torch.int8), scale
