"""Exercise 06.feed_back: after rounding one column, correct those not yet rounded."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


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


def fed(w: Tensor, q: Tensor, j: int, error: Tensor, row: Tensor, first: int = 1, put: bool = True) -> Tensor:
    """Subtract error [out] times row [in] from columns j + first on, and put q into column j."""
    out = w.clone()
    out[:, max(0, j + first) :] -= torch.outer(error, row)[:, max(0, j + first) :]
    if put:
        out[:, j] = q
    return out


def next_column(w: Tensor, q: Tensor, j: int, h_inv: Tensor) -> Tensor:
    """All columns after j are corrected, from j + 1 to the last."""
    return torch.cat([reference(w, q, j, h_inv)[:, : j + 2], w[:, j + 2 :]], 1)


def hessian(w: Tensor, q: Tensor, j: int, h_inv: Tensor, divisor: Tensor | None = None) -> Tensor:
    """The update uses the inverse: H says what hurts, its inverse says which change repairs."""
    h = torch.linalg.inv(h_inv)
    return fed(w, q, j, (w[:, j] - q) / (h[j, j] if divisor is None else divisor), h[j])


WRONG = (
    next_column, hessian,
    *slips("The update uses the inverse: H says what hurts, its inverse says which change repairs.",
           row_of_the_hessian=lambda w, q, j, v: hessian(w, q, j, v, v[j, j])),
    *slips("Column j is rounded, but nothing makes up for its error: that is plain rounding. If you did "
           "correct, was column j overwritten before you took w[:, j] - q?",
           only_rounded=lambda w, q, j, v: fed(w, q, j, 0 * q, v[j])),
    *slips("The sign: subtract error * h_inv[j, k], or the error doubles.",
           wrong_sign=lambda w, q, j, v: fed(w, q, j, (q - w[:, j]) / v[j, j], v[j])),
    *slips("Divide the error by h_inv[j, j] first (equation 2 of the paper).",
           not_divided=lambda w, q, j, v: fed(w, q, j, w[:, j] - q, v[j]),
           multiplied=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q) * v[j, j], v[j]),
           divided_by_the_root=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q) / v[j, j].sqrt(), v[j])),
    *slips("One number divides the error in all columns: h_inv[j, j], of the column that was rounded.",
           diagonal_of_k=lambda w, q, j, v: fed(w, q, j, w[:, j] - q, v[j] / v.diagonal()),
           first_diagonal=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q) / v[0, 0], v[j])),
    *slips("Column k is corrected by h_inv[j, k]: row j of the inverse, off its diagonal.",
           first_row=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q) / v[j, j], v[0]),
           diagonal=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q) / v[j, j], v.diagonal())),
    *slips("Columns before j are on the grid already; changing them takes them off it. Only columns after j.",
           all_columns=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q) / v[j, j], v[j], -99),
           all_columns_not_divided=lambda w, q, j, v: fed(w, q, j, w[:, j] - q, v[j], -99)),
    *slips("The first column to correct is j + 1.",
           one_column_late=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q) / v[j, j], v[j], 2)),
    *slips("Column j still holds its old weights: put q into it.",
           q_not_put=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q) / v[j, j], v[j], put=False)),
    *slips("Each row has an error of its own, with its sign.",
           mean_error=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q).mean().expand(len(w)) / v[j, j], v[j]),
           magnitudes=lambda w, q, j, v: fed(w, q, j, (w[:, j] - q).abs() / v[j, j], v[j])),
    *slips("What is fed back is the error, w[:, j] - q.",
           weight_fed_back=lambda w, q, j, v: fed(w, q, j, w[:, j] / v[j, j], v[j]),
           q_fed_back=lambda w, q, j, v: fed(w, q, j, q / v[j, j], v[j])),
    *slips("That is the correction alone: subtract it from the columns after j.",
           correction=lambda w, q, j, v: -torch.outer((w[:, j] - q) / v[j, j], v[j])),
    *slips("The error is not shared out evenly: h_inv[j, k] says how well column k can make up for it.",
           shared_evenly=lambda w, q, j, v: fed(w, q, j, (q - w[:, j]) / max(1, len(v) - j - 1),
                                                torch.ones(len(v)))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="The columns still free now carry what column j could not: the output moved as little as it can.",
    tolerance=0.0001
)  # fmt: skip
