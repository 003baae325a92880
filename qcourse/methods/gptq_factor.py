"""The factor that GPTQ propagates errors with, and the damping that makes it exist."""

import torch
from torch import Tensor

LEAST_DAMPING, LARGEST_DAMPING = 1e-4, 1.0
ROWS = 256  # moved at once


def upper_factor(
    hessian: Tensor, damping: float = 0.01, order: Tensor | None = None
) -> tuple[Tensor, float | None]:
    """Return R, upper triangular with R R^T = H + damping * mean(diag) I, and the damping used.

    hessian: float32 or float64 [in, in]; order: int64 [in], the order that its rows and columns are taken in.
    Columns that calibration never activated get a diagonal of one mean value: they neither send nor receive
    errors, so they are rounded, not zeroed. Where the factorization fails the damping grows tenfold; beyond 1
    the identity is returned with None: plain rounding. One matrix of H's size is made.

    LAPACK's factor is lower triangular: that of H with rows and columns reversed, reversed back, is R.
    """
    back = (torch.arange(len(hessian), device=hessian.device) if order is None else order).flip(0)
    diagonal = hessian.diagonal()[back]
    mean = diagonal.mean()
    while damping <= LARGEST_DAMPING and mean > 0:
        factor = reordered(hessian, back).mT  # LAPACK's order: no copy
        factor.diagonal().add_(damping * mean + mean * (diagonal == 0))
        failed = torch.empty((), dtype=torch.int32, device=hessian.device)
        torch.linalg.cholesky_ex(factor, out=(factor, failed))
        if not failed and factor.diagonal().isfinite().all():
            turn(factor.mT)
            return factor, damping
        damping = max(10 * damping, LEAST_DAMPING)
    return torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device), None


def reordered(matrix: Tensor, order: Tensor) -> Tensor:
    """Return the rows and columns of a square matrix in `order`, a few rows at a time."""
    result = torch.empty_like(matrix)
    for rows, part in zip(order.split(ROWS), result.split(ROWS), strict=True):
        part.copy_(matrix[rows].index_select(1, order))
    return result


def turn(matrix: Tensor) -> None:
    """Reverse the order of rows and columns of a square matrix in place."""
    size = len(matrix)
    half = size // 2
    for start in range(0, half, ROWS):
        stop = min(start + ROWS, half)
        upper, lower = matrix[start:stop], matrix[size - stop : size - start]
        kept = upper.flip(0, 1)
        upper.copy_(lower.flip(0, 1))
        lower.copy_(kept)
    if size % 2:
        matrix[half] = matrix[half].flip(0)
