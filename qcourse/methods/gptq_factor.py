"""The factor that GPTQ propagates errors with, and the damping that makes it exist."""

import torch
from torch import Tensor

LARGEST_DAMPING = 1.0


def inverse_factor(
    hessian: Tensor, damping: float = 0.01, order: Tensor | None = None
) -> tuple[Tensor, float | None]:
    """Return U, upper triangular with U^T U = (H + damping * mean(diag) I)^-1, and the damping used.

    hessian: float32 [in, in]; order: int64 [in], the order that its rows and columns are taken in.
    Columns that calibration never activated get a diagonal of one mean value: they neither send nor receive
    errors, so they are rounded, not zeroed. Where the factorization fails the damping grows tenfold; beyond 1
    the identity is returned with None: plain rounding. At most two matrices of H's size are made.
    """
    back = (torch.arange(len(hessian), device=hessian.device) if order is None else order).flip(0)
    diagonal = hessian.diagonal()[back]
    mean = diagonal.mean()
    while damping <= LARGEST_DAMPING and mean > 0:
        factor = hessian[back[:, None], back].float().mT  # LAPACK's memory order: it copies nothing
        factor.diagonal().add_(damping * mean + mean * (diagonal == 0))
        failed = torch.empty((), dtype=torch.int32, device=hessian.device)
        torch.linalg.cholesky_ex(factor, out=(factor, failed))
        if not failed and factor.diagonal().isfinite().all():
            factor = inverse_of(factor)
            return factor.flip(0, 1), damping
        damping *= 10
    return torch.eye(len(hessian), device=hessian.device), None


def inverse_of(factor: Tensor) -> Tensor:
    """Return the inverse of a lower triangular matrix.

    The factor comes from H with rows and columns reversed: H_r = L L^T. Reversed back, L is upper
    triangular, H = L L^T, so H^-1 = (L^-1)^T L^-1 and U = L^-1, without ever forming H^-1.
    """
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device).mT
    return torch.linalg.solve_triangular(factor, identity, upper=False, out=identity)
