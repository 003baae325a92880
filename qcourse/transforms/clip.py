"""AWQ's second step: cut the few largest weights of a group when the finer grid is worth it.

Not a function-preserving rewrite: it is part of rounding, and only rounding follows it.
"""

import torch
from torch import Tensor

from qcourse.numerics.grid import split_groups
from qcourse.numerics.range_search import search_range_by_output


def clip(weight: Tensor, hessian: Tensor, bits: int, group_size: int, symmetric: bool) -> Tensor:
    """Return weight [out, in] clamped, group by group, to the range with the least output error, float32.

    The error of a group is d H_g d^T with H_g [group, group] the group's block of the Gram matrix
    [in, in]. Source: Lin et al. 2023 (arXiv 2306.00978), appendix; AutoAWQ's search_best_clip.
    """
    groups = split_groups(weight.float(), group_size).transpose(0, 1).contiguous()  # [n_groups, out, group]
    blocks = diagonal_blocks(hessian, groups.shape[2])
    low, high = search_range_by_output(groups, blocks, bits, symmetric)
    return groups.clamp(low[..., None], high[..., None]).transpose(0, 1).reshape(weight.shape)


def diagonal_blocks(hessian: Tensor, group: int) -> Tensor:
    """Return the [n_groups, group, group] blocks on the diagonal of a Gram matrix."""
    starts = range(0, hessian.shape[0], group)
    return torch.stack([hessian[start : start + group, start : start + group] for start in starts])
