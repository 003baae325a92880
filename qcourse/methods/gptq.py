"""GPTQ: round the columns one by one, and let the columns not yet rounded make up for each error.

The output error of a linear layer is tr(D H D^T), D the change of the weight and H the mean of x x^T.
After a column is rounded, the rest of its row can move to lower that error again; U, the upper Cholesky
factor of the inverse of H, holds by how much. Asked for, the rest also makes up for inputs that earlier
layers, quantized before, have moved (GPTAQ).
"""

import torch
from torch import Tensor

from qcourse.methods.gptq_drift import drift_feedback
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
    drift: Tensor | None = None,
    damping: float = 0.01,
    act_order: str = "static",
    search: bool = True,
) -> QuantizedWeight:
    """Quantize weight [out, in] so that its output on the calibration inputs changes little.

    hessian: float32 [in, in], mean over tokens of x x^T; drift: None, or for GPTAQ the mean of (t - x) x^T, t
    the unquantized model's input. act_order: "none"; "static" (columns by falling diagonal, scales fixed
    first); "group-aware" (groups by falling diagonal, columns likewise inside); "full" (columns by falling
    diagonal, groups formed in that order, g_idx stored: desc_act).
    search: choose each group's range by the Hessian-weighted error. extra["damping"] tells the damping that
    made H positive definite; None means that none did and the layer was rounded to nearest.
    Raises ValueError for bits, group sizes and values that `quantize_affine` refuses.
    Source: Frantar et al. 2022 (arXiv 2210.17323), algorithm 1.
    """
    check_input(weight, hessian, bits)
    group = columns_of_a_group(weight.shape[1], group_size)
    order = column_order(hessian.diagonal(), group, act_order)
    grids = None
    if act_order == "static":
        grids = static_grids(weight, bits, group, symmetric, hessian.diagonal(), search)
    U, used = inverse_factor(hessian, damping, order)
    P = None if drift is None or used is None else drift_feedback(drift[order[:, None], order], U)
    W = weight.float().T[order].contiguous()  # a row of W is a column of the weight, and contiguous
    codes, scale, zero_point = round_columns(W, U, P, bits, group, symmetric, search, order, grids)
    quantized = restore_order(codes.T, scale.T, zero_point.T, order, bits, group_size, symmetric, act_order)
    quantized.extra["damping"] = used
    return quantized


def check_input(weight: Tensor, hessian: Tensor, bits: int) -> None:
    """Raise ValueError for bits outside 2..8 and for values that are not finite."""
    check_bits(bits)
    check_finite(weight)
    check_finite(hessian)


def round_columns(W, U, P, bits, group, symmetric, search, order, grids):
    """Return codes [in, out], scale and zero point [n_groups, out], columns in the order of W's rows.

    W: float32 [in, out], changed in place: rows not yet rounded absorb the errors of those before them.
    U, P: upper triangular [in, in]. Errors reach the rest of a block at once, later blocks in one product.
    grids: scale and zero point of each group where they are static, so that order tells a column's group.
    """
    columns, out = W.shape
    codes, errors = torch.empty_like(W), torch.empty_like(W)
    scales, zeros = grids or (W.new_empty(columns // group, out), W.new_empty(columns // group, out))
    places = range(columns) if grids is None else order.tolist()
    importance, pivots = U.diagonal().reciprocal().square(), U.diagonal().tolist()
    block = block_width(group)
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        for j in range(start, stop):
            index = places[j] // group
            if grids is None and j % group == 0:
                rows = slice(j, j + group)
                scales[index], zeros[index] = grid_of_group(
                    W[rows], importance[rows], bits, symmetric, search
                )
            scale, zero = scales[index], zeros[index]
            codes[j] = code = round_to(W[j], scale, zero, bits)
            errors[j] = error = (W[j] - (code - zero) * scale) / pivots[j]
            W[j + 1 : stop].addr_(U[j, j + 1 : stop], error, alpha=-1)
            if P is not None:
                W[j + 1 : stop].addr_(P[j, j + 1 : stop], W[j])
        W[stop:].addmm_(U[start:stop, stop:].T, errors[start:stop], alpha=-1)
        if P is not None:
            W[stop:].addmm_(P[start:stop, stop:].T, W[start:stop])
    return codes.to(torch.uint8), scales, zeros


def block_width(group: int) -> int:
    """Return the columns of a block: near 128, and such that a group of 128 or more starts with a block."""
    if group <= BLOCK:
        return group * (BLOCK // group)
    return next(width for width in range(BLOCK, 0, -1) if group % width == 0)
