"""GPTQ: round the columns one by one, and let the columns not yet rounded make up for each error.

The output error of a linear layer is tr(D H D^T), D the change of the weight and H the mean of x x^T.
After a column is rounded, the rest of its row can move to lower that error again; U, the upper Cholesky
factor of the inverse of H, holds by how much.
"""

import torch
from torch import Tensor

from qcourse.methods.gptq_factor import inverse_factor
from qcourse.methods.gptq_grid import grid_of_group, static_grids
from qcourse.methods.gptq_order import column_order, restore_order
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.affine import round_to
from qcourse.numerics.checks import check_bits, check_finite, columns_of_a_group

BLOCK = 128


def quantize_layer(
    weight: Tensor,
    *,
    bits: int = 4,
    group_size: int = 128,
    symmetric: bool = True,
    hessian: Tensor,
    damping: float = 0.01,
    act_order: str = "static",
    search: bool = True,
) -> QuantizedWeight:
    """Quantize weight [out, in] so that its output on the calibration inputs changes little.

    hessian: float32 [in, in], mean over tokens of x x^T. act_order: "none"; "static" (columns by falling
    diagonal, scales fixed first); "group-aware" (groups by falling diagonal, columns likewise inside);
    "full" (columns by falling diagonal, groups formed in that order, g_idx stored: desc_act).
    search: choose each group's range by the Hessian-weighted error. extra["damping"] tells the damping that
    made H positive definite; None means that none did and the layer was rounded to nearest.
    Raises ValueError for bits, group sizes and values that `quantize_affine` refuses.
    Source: Frantar et al. 2022 (arXiv 2210.17323), algorithm 1.
    """
    check_bits(bits)
    check_finite(weight)
    check_finite(hessian)
    group = columns_of_a_group(weight.shape[1], group_size)
    order = column_order(hessian.diagonal(), group, act_order)
    W = weight.float()[
        :, order
    ].T.contiguous()  # one row a column of the weight, so that columns are contiguous
    H = hessian.float()[order][:, order]
    U, used = inverse_factor(H, damping)
    importance = U.diagonal().reciprocal().square()
    grids = (
        static_grids(weight, bits, group, symmetric, H.diagonal()[torch.argsort(order)], search)
        if act_order == "static"
        else None
    )
    codes, scale, zero_point = round_columns(W, U, importance, bits, group, symmetric, search, order, grids)
    quantized = restore_order(codes.T, scale.T, zero_point.T, order, bits, group_size, symmetric, act_order)
    quantized.extra["damping"] = used
    return quantized


def round_columns(W, U, importance, bits, group, symmetric, search, order, grids):
    """Return codes [in, out], scale and zero point [n_groups, out], columns in the order of W's rows.

    W: float32 [in, out], changed in place: rows not yet rounded absorb the errors of those before them.
    U: upper triangular [in, in]. Errors reach the rest of a block at once and later blocks in one product.
    """
    columns, out = W.shape
    codes = torch.empty(columns, out, dtype=torch.uint8, device=W.device)
    scales = torch.empty(columns // group, out, device=W.device)
    zeros = torch.empty_like(scales)
    block = block_width(group)
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        errors = torch.empty(stop - start, out, device=W.device)
        for j in range(start, stop):
            index = group_index(j, group, order, grids)
            if grids is not None:
                scales[index], zeros[index] = grids[0][index], grids[1][index]
            elif j % group == 0:
                rows = slice(j, j + group)
                scales[index], zeros[index] = grid_of_group(
                    W[rows], importance[rows], bits, symmetric, search
                )
            code = round_to(W[j], scales[index], zeros[index], bits)
            codes[j] = code.to(torch.uint8)
            error = (W[j] - (code - zeros[index]) * scales[index]) / U[j, j]
            W[j + 1 : stop].addr_(U[j, j + 1 : stop], error, alpha=-1)
            errors[j - start] = error
        W[stop:].addmm_(U[start:stop, stop:].T, errors, alpha=-1)
    return codes, scales, zeros


def group_index(j: int, group: int, order: Tensor, grids: object) -> int:
    """Return the row of `scales` for the j-th column visited: by visit, or by place when grids are static."""
    return j // group if grids is None else int(order[j]) // group


def block_width(group: int) -> int:
    """Return the columns of a block: near 128, and such that a group of 128 or more starts with a block."""
    if group <= BLOCK:
        return group * (BLOCK // group)
    return next(width for width in range(BLOCK, 0, -1) if group % width == 0)
