"""GPTQ: round the columns one by one, and let the columns not yet rounded make up for each error.

The output error of a linear layer is tr(D H D^T), D the change of the weight and H the mean of x x^T.
With H = R R^T, R upper triangular, it is the sum over columns k of (R[k, k] d_k + sum over j < k of
d_j R[j, k])^2. So column k, whose turn comes after those before it, is rounded where it makes up for their
changes: at w_k + sum over j < k of (w_j - q_j) R[j, k] / R[k, k]. The paper reaches the same through the
inverse of H; this form is Chee et al.'s LDLQ (2023, arXiv 2307.13304) and needs none. Asked for, columns
also make up for inputs that earlier layers, quantized before, have moved (GPTAQ).
"""

import torch
from torch import Tensor

from qcourse.methods.gptq_drift import drift_feedback
from qcourse.methods.gptq_factor import upper_factor
from qcourse.methods.gptq_grid import grids_of
from qcourse.methods.gptq_order import column_order, restore_order
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.checks import check_bits, check_finite, columns_of_a_group

LEAF = 16


@torch.no_grad()
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
    search: choose each group's range by the Hessian-weighted error. The result's `damping` made H positive
    definite; None means that none did and the layer was rounded to nearest.
    Raises ValueError for bits, group sizes and values that `quantize_affine` refuses.
    Source: Frantar et al. 2022 (arXiv 2210.17323), algorithm 1.
    """
    check_input(weight, hessian, bits)
    group = columns_of_a_group(weight.shape[1], group_size)
    order = column_order(hessian.diagonal(), group, act_order)
    grids = None
    if act_order == "static":
        grids = grids_of(weight, bits, group, symmetric, hessian.diagonal(), search)
    R, used = upper_factor(hessian, damping, order)
    P = None if drift is None or used is None else drift_feedback(drift[order[:, None], order], R)
    W = weight.T[order].float().contiguous()  # a row of W is a column of the weight, and contiguous
    codes, scale, zero_point = round_columns(W, R, P, bits, group, symmetric, search, order, grids)
    quantized = restore_order(codes.T, scale.T, zero_point.T, order, bits, group_size, symmetric, act_order)
    quantized.damping = used
    return quantized


def check_input(weight: Tensor, hessian: Tensor, bits: int) -> None:
    """Raise ValueError for bits outside 2..8 and for values that are not finite."""
    check_bits(bits)
    check_finite(weight)
    check_finite(hessian)


def round_columns(W, R, P, bits, group, symmetric, search, order, grids):
    """Return codes uint8 [in, out], scale and zero point [n_groups, out], columns in the order of W's rows.

    W: float32 [in, out], changed in place: rows not yet rounded make up for the changes of those before them.
    R, P: upper triangular [in, in]; the columns of R are divided by their pivots in place. Changes reach the
    rest of a leaf one by one, later leaves by `hand_on`.
    grids: scale and zero point of each group where they are static, so that order tells a column's group.
    """
    columns, out = W.shape
    codes, changes = torch.empty_like(W, dtype=torch.uint8), W.clone()
    scales, zeros = grids or (W.new_empty(columns // group, out), W.new_empty(columns // group, out))
    groups = (torch.arange(columns, device=W.device) if grids is None else order) // group
    pivots = R.diagonal().clone()
    R.div_(pivots)
    width = leaf_width(group)
    for start in range(0, columns, width):
        stop = start + width
        leaf, index = slice(start, stop), start // group
        if grids is None and start % group == 0:
            rows = slice(start, start + group)
            whole = unrounded(W[rows], changes[rows], R[rows, rows]).T.contiguous()
            moved = grids_of(whole, bits, group, symmetric, pivots[rows].square(), search)
            scales[index], zeros[index] = (part[0] for part in moved)
        scale, zero = scales[groups[leaf]], zeros[groups[leaf]]
        corrections = [R[leaf, leaf]] if P is None else [R[leaf, leaf], P[leaf, leaf]]
        codes[leaf] = round_leaf(W[leaf], changes[leaf], scale, zero, bits, *corrections)
        hand_on(W, changes, R, P, stop, width)
    return codes, scales, zeros


def hand_on(W, changes, R, P, stop, width):
    """Let later columns (rows of W) make up for the changes of leaves that are done, several in one product.

    After the n-th leaf, which ends at `stop`, the last 2**k leaves reach the next 2**k, 2**k the largest
    power of two that divides n: after leaf 1 it is 1 -> 2; after leaf 2, leaves 1, 2 -> 3, 4; after leaf 3,
    3 -> 4; after leaf 4, 1..4 -> 5..8. So each leaf hears once of every leaf before it.
    """
    leaves = stop // width
    reach = width * (leaves & -leaves)
    near, far = slice(stop - reach, stop), slice(stop, stop + reach)
    W[far].addmm_(R[near, far].T, changes[near])
    if P is not None:
        moved = P[near, far].T @ W[near]
        W[far] += moved
        changes[far] += moved


def unrounded(W, changes, R):
    """Return a group's columns as they would be if none of them were rounded: what its grid is chosen for.

    W: the columns, which have heard of all groups before theirs; changes: as they were; R: the group's rows
    and columns of the factor, each column divided by its pivot.
    """
    made_up = torch.linalg.solve_triangular(R.mT, W - changes, upper=False, unitriangular=True)
    return changes + made_up


def round_leaf(W, changes, scale, zero, bits, R, P=None):
    """Return the codes [width, out] of a few columns (rows of W, changed in place).

    changes: the columns as they were, of which their rounded values are taken, in place.
    scale, zero: of each column; R, P: [width, width], of which only what is above the diagonal counts.
    """
    levels = torch.empty_like(W)
    each = zip(W, changes, levels, scale, -zero, 2**bits - 1 - zero, R.triu(1), strict=True)
    for j, (column, change, level, step, lowest, highest, r) in enumerate(each):
        torch.div(column, step, out=level).round_().clamp_(lowest, highest)
        change.addcmul_(level, step, value=-1)
        W.addr_(r, change)
        if P is not None:
            W[j + 1 :].addr_(P[j, j + 1 :], column)
            changes[j + 1 :].addr_(P[j, j + 1 :], column)
    return levels.add_(zero)


def leaf_width(group: int) -> int:
    """Return how many columns are rounded one by one: about LEAF, and such that a group is 2**k leaves."""
    while group > LEAF and group % 2 == 0:
        group //= 2
    return group
