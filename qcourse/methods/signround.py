"""Learned rounding: whether each weight goes up or down is learned, by the sign of a gradient.

Every weight gets an offset V in [-1/2, 1/2] of a step, added before it is rounded: each code is its nearest
or that one's neighbour. The layer's output error tr(D H D^T), D = quantized - original, has the gradient
2 D H in the quantized weight; rounding is taken as the identity, so that 2 D H times the step is V's gradient
(straight through). Only the sign of its running mean is used: all offsets move alike, far enough to change
codes in few steps.
"""

from typing import cast

import torch
from torch import Tensor

from qcourse.numerics import Grid, QuantizedWeight, quantize_affine
from qcourse.numerics.checks import check_finite
from qcourse.numerics.grid import split_groups

STEPS, RATE, MOMENTUM = 50, 0.3, 0.9  # the paper takes 200 steps, a rate of 1 / steps and no momentum


@torch.no_grad()
def quantize_layer(
    weight: Tensor,
    *,
    bits: int = 4,
    group_size: int = 128,
    symmetric: bool = True,
    hessian: Tensor,
    steps: int = STEPS,
    search: bool = True,
) -> QuantizedWeight:
    """Quantize weight [out, in] so that its output on the calibration inputs changes little.

    hessian: H, mean of x x^T, float32 or float64 [in, in]. steps: of signed gradient descent, whose rate
    falls from 0.3 / steps to 0; 0 steps are plain rounding. search: as in `rtn`, the grid that V rounds to.
    Of all codes seen the best of each row are kept, so that no row is worse than rounded to nearest.
    Raises ValueError where `quantize_affine` does. The published method learns the range beside V.
    Source: Cheng et al. 2024 (arXiv 2309.05516), equations 3 to 5 and algorithm 1.
    """
    check_finite(hessian)
    importance = hessian.diagonal() if search else None
    found = quantize_affine(weight, bits, group_size, symmetric, search=search, importance=importance)
    zero_point = cast(Tensor, found.zero_point).to(found.scale.dtype)
    grid = Grid(found.scale, zero_point, bits, symmetric)[..., None]
    codes = learn(split_groups(weight.float(), group_size), grid, hessian, steps)
    found.codes = codes.reshape(weight.shape).to(torch.uint8)
    return found


def learn(groups: Tensor, grid: Grid, hessian: Tensor, steps: int) -> Tensor:
    """Return the best codes met, float32 like groups [out, n_groups, group]; grid: broadcast over columns."""
    V, mean = torch.zeros_like(groups), torch.zeros_like(groups)
    best, least = grid.codes(groups), torch.full((len(groups),), torch.inf, device=groups.device)
    for step in range(steps + 1):
        codes = offset_codes(groups, V, grid)
        gradient, error = slope(grid.values(codes) - groups, hessian)
        best[error < least], least = codes[error < least], torch.minimum(error, least)
        mean.mul_(MOMENTUM).add_(gradient, alpha=1 - MOMENTUM)
        rate = RATE * (1 - step / max(steps, 1)) / max(steps, 1)
        V.sub_(mean.sign(), alpha=rate).clamp_(-0.5, 0.5)
    return best


def offset_codes(groups: Tensor, V: Tensor, grid: Grid) -> Tensor:
    """Return the codes of weights moved by V steps: within one of the nearest."""
    return grid.codes(groups + V * grid.scale)


def slope(change: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Return D H, half the gradient in the weight, and the error of each row, the diagonal of D H D^T.

    change: D [out, n_groups, group], float32; the gradient in its shape, the error [out].
    """
    flat = change.flatten(1).to(hessian.dtype)
    gradient = flat @ hessian
    return gradient.reshape(change.shape).to(change.dtype), (gradient * flat).sum(1)
