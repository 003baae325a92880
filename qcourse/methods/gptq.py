"""GPTQ: round the columns one by one, and let the columns not yet rounded make up for each error.

H is the mean of x x^T over calibration inputs: a change D of the weight changes the output by tr(D H D^T).
Once column j is rounded, the columns after it best make up for its error e by e / (H^-1)_jj times row j of
H^-1, of which column j is then eliminated. All those rows are the rows of one factor U, U^T U = H^-1.
`gptq_fast`, which `quantize` calls, sums the same in another order; tests hold it to this page's codes.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qcourse.methods.gptq_grid import check_input, empty_grid, grid_of
from qcourse.methods.gptq_order import column_order, restore_order
from qcourse.numerics import Grid, QuantizedWeight
from qcourse.numerics.checks import columns_of_a_group

BLOCK, LEAST_DAMPING, LARGEST_DAMPING = 128, 1e-4, 1.0


@torch.no_grad()
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

    hessian: H, float32 or float64 [in, in], whose dtype is computed in. act_order: see `column_order`; the
    grids of groups are chosen first for "static", else from a group's columns as they are at its turn.
    search: choose ranges by the error they cause. Raises ValueError where `quantize_affine` does.
    Source: Frantar et al. 2022 (arXiv 2210.17323), equation 2 and algorithm 1.
    """
    check_input(weight, hessian, bits)
    group, static = columns_of_a_group(weight.shape[1], group_size), act_order == "static"
    choose = partial(grid_of, group=group, bits=bits, symmetric=symmetric, search=search)
    order = column_order(hessian.diagonal(), group, act_order)
    U, used = inverse_factor(hessian[order][:, order], damping)
    W = weight.to(hessian.dtype)
    grid = choose(W, hessian.diagonal()) if static else empty_grid(W, group, bits, symmetric)
    groups = (order if static else torch.arange(len(order), device=order.device)) // group
    codes = round_columns(W[:, order], U, grid, groups, None if static else choose)
    return restore_order(codes, grid, order, group_size, act_order, used)


def round_columns(W: Tensor, U: Tensor, grid: Grid, groups: Tensor, choose: Callable | None) -> Tensor:
    """Return the codes of W [out, in], whose columns make up for the errors of those before them.

    grid: [out, n_groups], filled in by `choose` at each group's turn if that is given; groups: of columns.
    """
    codes, group = torch.empty_like(W), W.shape[1] // grid.scale.shape[1]
    block = group * max(1, BLOCK // group)
    for start in range(0, W.shape[1], block):
        stop = min(start + block, W.shape[1])
        errors = torch.empty_like(W[:, start:stop])
        for j in range(start, stop):
            if choose is not None and j % group == 0:
                grid[:, j // group] = choose(W[:, j : j + group], U.diagonal()[j : j + group] ** -2)[:, 0]
            here = grid[:, groups[j]]
            codes[:, j] = here.codes(W[:, j])
            errors[:, j - start] = (W[:, j] - here.values(codes[:, j])) / U[j, j]
            W[:, j + 1 : stop] -= torch.outer(errors[:, j - start], U[j, j + 1 : stop])
        W[:, stop:] -= errors @ U[start:stop, stop:]  # the columns after the block: all its errors at once
    return codes


def inverse_factor(hessian: Tensor, damping: float) -> tuple[Tensor, float | None]:
    """Return U, upper triangular with U^T U = (H + damping * mean(diag H) I)^-1, and the damping used.

    An input that calibration never saw active gets the mean on the diagonal: its column is only rounded.
    Where H is not positive definite, damping grows tenfold; beyond 1 U is the identity: plain rounding.
    """
    mean = hessian.diagonal().mean()
    while damping <= LARGEST_DAMPING and mean > 0:
        added = damping * mean + mean * (hessian.diagonal() == 0)
        lower, failed = torch.linalg.cholesky_ex(hessian + added.diag())
        U, failed_too = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if not failed and not failed_too:
            return U, damping
        damping = max(10 * damping, LEAST_DAMPING)
    return torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device), None
