"""AWQ's second step: cut the few largest weights of a group when the finer grid is worth it.

Not a function-preserving rewrite: it is part of rounding, and only rounding follows it.
"""

import torch
from torch import Tensor

from qcourse.numerics.affine import grid, range_of, round_to, split_groups

SHRINKS = tuple(1 - 0.05 * step for step in range(11))


def clip(weight: Tensor, hessian: Tensor, bits: int, group_size: int, symmetric: bool) -> Tensor:
    """Return weight [out, in] clamped, group by group, to the range with the least output error.

    The error of a group is d H_g d^T with H_g [group, group] the group's block of the Gram matrix
    [in, in]. Source: Lin et al. 2023 (arXiv 2306.00978), appendix; AutoAWQ's search_best_clip.
    """
    groups = split_groups(weight.float(), group_size)  # [out, n_groups, group]
    blocks = diagonal_blocks(hessian, groups.shape[2])
    low, high = range_of(groups)
    best = torch.full_like(low, torch.inf)
    best_low, best_high = low, high
    for shrink in SHRINKS:
        scale, zero = grid(low * shrink, high * shrink, bits, symmetric)
        scale, zero = scale[..., None], zero[..., None]
        change = (round_to(groups, scale, zero, bits) - zero) * scale - groups
        error = block_error(change, blocks)
        better = error < best
        best = torch.where(better, error, best)
        best_low = torch.where(better, low * shrink, best_low)
        best_high = torch.where(better, high * shrink, best_high)
    return groups.clamp(best_low[..., None], best_high[..., None]).reshape(weight.shape)


def diagonal_blocks(hessian: Tensor, group: int) -> Tensor:
    """Return the [n_groups, group, group] blocks on the diagonal of a Gram matrix."""
    starts = range(0, hessian.shape[0], group)
    return torch.stack([hessian[start : start + group, start : start + group] for start in starts])


def block_error(change: Tensor, blocks: Tensor) -> Tensor:
    """Return d H_g d^T for each row and group: [out, n_groups] from [out, n_groups, group]."""
    moved = torch.bmm(change.transpose(0, 1), blocks).transpose(0, 1)
    return (moved * change).sum(-1)
