"""Exercise 06.feed_back: after rounding one column, correct those not yet rounded."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (w [out, in], q [out], j, h_inv [in, in]): column j was rounded to q; h_inv is symmetric."""
    draw = torch.Generator().manual_seed(6)
    found = []
    for rows, columns, j in ((1, 3, 0), (2, 4, 1), (5, 8, 5)):
        x = torch.randn(4 * columns, columns, generator=draw) @ torch.randn(columns, columns, generator=draw)
        w = torch.randn(rows, columns, generator=draw)
        found.append((w, w[:, j].round(), j, torch.linalg.inv(x.T @ x / len(x) + 0.1 * torch.eye(columns))))
    return found


def reference(w: Tensor, q: Tensor, j: int, h_inv: Tensor) -> Tensor:
    """Apply the update of GPTQ's equation 2 entry by entry, to columns after j; column j becomes q."""
    out = w.clone()
    for row in range(w.shape[0]):
        error = (float(w[row, j]) - float(q[row])) / float(h_inv[j, j])
        out[row, j] = q[row]
        for k in range(j + 1, w.shape[1]):
            out[row, k] = float(w[row, k]) - error * float(h_inv[j, k])
    return out


def apply(w: Tensor, q: Tensor, j: int, step: Tensor, first: int) -> Tensor:
    """Subtract `step` [out, in] from the columns from `first` on, and put q into column j."""
    out = w.clone()
    out[:, first:] -= step[:, first:]
    out[:, j] = q
    return out


def wrong_sign(w: Tensor, q: Tensor, j: int, h_inv: Tensor) -> Tensor:
    """The sign: subtract error * h_inv[j, k], or the error doubles."""
    return apply(w, q, j, -torch.outer((w[:, j] - q) / h_inv[j, j], h_inv[j]), j + 1)


def not_divided(w: Tensor, q: Tensor, j: int, h_inv: Tensor) -> Tensor:
    """Divide the error by h_inv[j, j] first (equation 2 of the paper)."""
    return apply(w, q, j, torch.outer(w[:, j] - q, h_inv[j]), j + 1)


def all_columns(w: Tensor, q: Tensor, j: int, h_inv: Tensor) -> Tensor:
    """Columns before j are on the grid already; changing them takes them off it. Only columns after j."""
    return apply(w, q, j, torch.outer((w[:, j] - q) / h_inv[j, j], h_inv[j]), 0)


def hessian_for_inverse(w: Tensor, q: Tensor, j: int, h_inv: Tensor) -> Tensor:
    """The update uses the inverse: H says what hurts, its inverse says which change repairs."""
    h = torch.linalg.inv(h_inv)
    return apply(w, q, j, torch.outer((w[:, j] - q) / h[j, j], h[j]), j + 1)


def only_rounded(w: Tensor, q: Tensor, j: int, h_inv: Tensor) -> Tensor:
    """Column j is rounded, but nothing makes up for its error: that is plain rounding. If you did correct,
    was column j overwritten before you took w[:, j] - q?
    """
    return apply(w, q, j, torch.zeros_like(w), j + 1)


EXERCISE = Exercise(
    cases, reference, (only_rounded, wrong_sign, not_divided, all_columns, hessian_for_inverse),
    praise="The columns still free now carry what column j could not: the output moved as little as it can.",
    tolerance=0.0001
)  # fmt: skip
