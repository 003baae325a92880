"""GPTQ's codes sooner: the sums of `gptq`, in an order that turns nearly all of them into matrix products.

With H = R R^T, R upper triangular, the output error tr(D H D^T) is the sum over columns k of (R[k, k] d_k +
sum over j < k of d_j R[j, k])^2. So column k, whose turn comes after those before it, is rounded where it
makes up for their changes: at w_k + sum over j < k of (w_j - q_j) R[j, k] / R[k, k]. That is what the paper's
updates by the inverse come to (Chee et al. 2023, arXiv 2307.13304, LDLQ), and no inverse is needed. Asked
for, columns also make up for inputs that earlier layers, quantized before, have moved (GPTAQ).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qcourse.methods.gptq_drift import drift_feedback
from qcourse.methods.gptq_factor import upper_factor
from qcourse.methods.gptq_grid import check_input, empty_grid, grid_of
from qcourse.methods.gptq_order import column_order, restore_order
from qcourse.numerics import Grid, QuantizedWeight
from qcourse.numerics.checks import columns_of_a_group

BLOCK = 16


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
    """Quantize weight [out, in] to the codes of `gptq.quantize_layer`, whose settings these are.

    drift: for GPTAQ, the mean over tokens of (t - x) x^T, t the unquantized model's input: [in, in], like
    hessian. The result's `damping` made H positive definite; None means that none did and the layer was
    rounded to nearest.
    """
    check_input(weight, hessian, bits)
    group = columns_of_a_group(weight.shape[1], group_size)
    choose = partial(grid_of, group=group, bits=bits, symmetric=symmetric, search=search)
    order, static = column_order(hessian.diagonal(), group, act_order), act_order == "static"
    if static:
        grid, groups = choose(weight.to(hessian.dtype), hessian.diagonal()), order // group
    else:
        grid = empty_grid(weight.to(hessian.dtype), group, bits, symmetric)
        groups = torch.arange(len(order), device=order.device) // group
    grid = Grid(grid.scale.T.contiguous(), grid.zero_point.T.contiguous(), bits, symmetric)
    R, used = upper_factor(hessian, damping, order)
    P = None if drift is None or used is None else drift_feedback(drift[order[:, None], order], R)
    W = weight.T[order].to(hessian.dtype).contiguous()  # a row of W is a column of the weight, and contiguous
    codes = round_columns(W, R, P, grid, groups, None if static else choose)
    stored = Grid(grid.scale.T, grid.zero_point.T, bits, symmetric)
    return restore_order(codes.T, stored, order, group_size, act_order, used)


def round_columns(
    W: Tensor, R: Tensor, P: Tensor | None, grid: Grid, groups: Tensor, choose: Callable[..., Grid] | None
) -> Tensor:
    """Return codes uint8 [in, out], columns in the order of W's rows.

    W: [in, out], changed in place: rows not yet rounded make up for the changes of those before them.
    R, P: upper triangular [in, in]; the columns of R are divided by their pivots in place.
    grid: [n_groups, out]; groups: the group of each row of W. choose: None, or what chooses a group's grid
    when its turn comes.
    """
    codes, changes = torch.empty_like(W, dtype=torch.uint8), W.clone()
    pivots = R.diagonal().clone()
    R.div_(pivots)
    group = len(W) // len(grid.scale)
    width = block_width(group)
    for start in range(0, len(W), width):
        stop = start + width
        block = slice(start, stop)
        if choose is not None and start % group == 0:
            rows = slice(start, start + group)
            whole = unrounded(W[rows], changes[rows], R[rows, rows]).T.contiguous()
            grid[start // group] = choose(whole, pivots[rows].square())[:, 0]
        corrections = [R[block, block]] if P is None else [R[block, block], P[block, block]]
        codes[block] = round_block(W[block], changes[block], grid[groups[block]], *corrections)
        lazy_update(W, changes, R, P, stop, width)
    return codes


def lazy_update(W: Tensor, changes: Tensor, R: Tensor, P: Tensor | None, stop: int, width: int) -> None:
    """Let later columns (rows of W) make up for the changes of blocks that are done, several in one product.

    After the n-th block, which ends at `stop`, the last 2**k blocks reach the next 2**k, 2**k the largest
    power of two that divides n: after block 1 it is 1 -> 2; after block 2, blocks 1, 2 -> 3, 4; after block
    3, 3 -> 4; after block 4, 1..4 -> 5..8. So the change of each block reaches each later block once.
    """
    blocks = stop // width
    reach = width * (blocks & -blocks)
    near, far = slice(stop - reach, stop), slice(stop, stop + reach)
    W[far].addmm_(R[near, far].T, changes[near])
    if P is not None:
        moved = P[near, far].T @ W[near]
        W[far] += moved
        changes[far] += moved


def unrounded(W: Tensor, changes: Tensor, R: Tensor) -> Tensor:
    """Return a group's columns as they would be if none of them were rounded: what its grid is chosen for.

    W: the columns, which the changes of all groups before theirs have reached; changes: as they were; R: the
    group's rows and columns of the factor, each column divided by its pivot.
    """
    made_up = torch.linalg.solve_triangular(R.mT, W - changes, upper=False, unitriangular=True)
    return changes + made_up


def round_block(W: Tensor, changes: Tensor, grid: Grid, R: Tensor, P: Tensor | None = None) -> Tensor:
    """Return the codes [width, out] of a few columns (rows of W, changed in place).

    changes: the columns as they were, of which their rounded values are taken, in place.
    grid: of each column; R, P: [width, width], of which only what is above the diagonal counts.
    """
    levels, zero = torch.empty_like(W), grid.zero_point
    bounds = -zero, 2**grid.bits - 1 - zero
    each = zip(W, changes, levels, grid.scale, *bounds, R.triu(1), strict=True)
    for j, (column, change, level, step, lowest, highest, r) in enumerate(each):
        torch.div(column, step, out=level).round_().clamp_(lowest, highest)
        change.addcmul_(level, step, value=-1)
        W.addr_(r, change)
        if P is not None:
            W[j + 1 :].addr_(P[j, j + 1 :], column)
            changes[j + 1 :].addr_(P[j, j + 1 :], column)
    return levels.add_(zero)


def block_width(group: int) -> int:
    """Return how many columns are rounded one by one: about BLOCK, and such that a group is 2**k blocks."""
    while group > BLOCK and group % 2 == 0:
        group //= 2
    return group
