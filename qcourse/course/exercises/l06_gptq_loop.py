"""Exercise 06.gptq_loop: the whole of GPTQ, column by column."""

from collections.abc import Callable

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (w [out, in], h [in, in], step [out, 1], damping): weights, mean of x x^T, steps of the rows."""
    draw = torch.Generator().manual_seed(62)
    found = []
    for rows, columns, damping, top in ((1, 2, 0.01, 3), (2, 4, 0.1, 3), (8, 16, 0.5, 3), (6, 12, 0.05, 31)):
        mix = torch.eye(columns) + 0.4 * torch.randn(columns, columns, generator=draw)
        x = torch.randn(6 * columns, columns, generator=draw, dtype=torch.float64) @ mix.double()
        x *= torch.logspace(1, 0, columns) if top > 3 else 1  # a diagonal whose mean is not in its middle
        w = torch.randn(rows, columns, generator=draw, dtype=torch.float64)
        found.append((w, x.T @ x / len(x), w.abs().amax(1, keepdim=True) / top, damping))
    return found


def reference(w: Tensor, h: Tensor, step: Tensor, damping: float) -> Tensor:
    """Round column j, solve for the best change of those after it, and drop row and column j from H."""
    w, h = w.clone(), h + relative(h, damping)
    for j in range(len(h)):
        q = (w[:, j] / step[:, 0]).round() * step[:, 0]
        left = slice(j + 1, None)
        if j + 1 < len(h):
            w[:, left] += torch.outer(w[:, j] - q, torch.linalg.solve(h[left, left], h[left, j]))
        w[:, j] = q
    return w


def relative(h: Tensor, damping: float) -> Tensor:
    """Return what damps h: damping times the mean of its diagonal, on the diagonal."""
    return damping * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype)


def eliminated(v: Tensor, j: int) -> Tensor:
    """Return what is left of the inverse after column j."""
    return v - torch.outer(v[:, j], v[j]) / v[j, j]


def kept(w: Tensor, h: Tensor, step: Tensor, damping: float, extra: Tensor | None = None, whole=torch.round,
         error=lambda now, q, old, pivot: (now - q) / pivot, left=eliminated, inverse=torch.linalg.inv,
         last: int = 0) -> Tensor:  # fmt: skip
    """Run the loop on the inverse; error: (column, rounded, column of w, pivot); left: what remains of it."""
    old, w, steps = w, w.clone(), step[:, 0]
    v = inverse(h + (relative(h, damping) if extra is None else extra))
    for j in range(len(h) - last):
        q = whole(w[:, j] / steps) * steps
        w[:, j + 1 :] -= torch.outer(error(w[:, j], q, old[:, j], v[j, j]), v[j, j + 1 :])
        w[:, j], v = q, left(v, j)
    return w


def by_diagonal(w: Tensor, h: Tensor, step: Tensor, damping: float) -> Tensor:
    """Take the columns in their order, first to last: sorting by H's diagonal is an option of libraries."""
    order = h.diagonal().argsort(descending=True)
    return kept(w[:, order], h[order][:, order], step, damping)[:, order.argsort()]


def damping_of(size) -> Callable:
    """Return the loop with size(h, eye) times damping added to h."""
    return lambda w, h, step, damping: kept(
        w, h, step, damping, damping * size(h, torch.eye(len(h), dtype=h.dtype))
    )


WRONG = (
    by_diagonal,
    *slips("This is plain rounding: no error is fed back.",
           plain_rounding=lambda w, h, step, _: (w / step).round() * step),
    *slips("A rounded column must leave the problem: after column j, subtract outer(h_inv[:, j], h_inv[j]) "
           "/ h_inv[j, j] from h_inv, or invert what is left of H.",
           inverse_kept=lambda *case: kept(*case, left=lambda v, j: v)),
    *slips("The outer product that you take off h_inv is divided by h_inv[j, j].",
           elimination_not_divided=lambda *case: kept(
               *case, left=lambda v, j: v - torch.outer(v[:, j], v[j]))),
    *slips("H is not damped: add damping times the mean of its diagonal.",
           no_damping=damping_of(lambda h, eye: 0 * eye)),
    *slips("The damping is relative: multiply it by the mean of H's diagonal before you add it.",
           damping_not_relative=damping_of(lambda h, eye: eye)),
    *slips("Damping times the mean of H's *diagonal*: not that of all entries, its sum or its largest.",
           mean_of_all=damping_of(lambda h, eye: h.mean() * eye),
           trace=damping_of(lambda h, eye: h.trace() * eye),
           largest=damping_of(lambda h, eye: h.diagonal().max() * eye),
           each_entry=damping_of(lambda h, eye: h.diagonal() * eye)),
    *slips("Damp the diagonal only: multiply by an identity matrix before you add.",
           everywhere=damping_of(lambda h, eye: h.diagonal().mean())),
    *slips("Damp H, then invert it: the inverse is what damping makes safe.",
           inverse_damped=lambda w, h, step, damping: kept(
               w, h, step, damping, inverse=lambda damped: torch.linalg.inv(h) + damped - h)),
    *slips("The error is fed back by the inverse of H, not by H.",
           not_inverted=lambda *case: kept(*case, inverse=lambda damped: damped)),
    *slips("The error is that of column j as it is now, with the corrections it took in, not of the "
           "original weight.",
           error_of_the_original=lambda *case: kept(
               *case, error=lambda now, q, old, pivot: (old - q) / pivot)),
    *slips("The sign: subtract the correction, or the error doubles.",
           sign=lambda *case: kept(*case, error=lambda now, q, old, pivot: (q - now) / pivot)),
    *slips("Divide the error by h_inv[j, j] before it is fed back.",
           not_divided=lambda *case: kept(*case, error=lambda now, q, old, pivot: now - q)),
    *slips("Round to the nearest multiple: floor and int() cut off.",
           floor=lambda *case: kept(*case, whole=torch.floor),
           cut_off=lambda *case: kept(*case, whole=torch.trunc)),
    *slips("Codes are cut off at 3 in yours, or at 7: `step` alone says where levels are; none is the last.",
           clipped=lambda *case: kept(*case, whole=lambda codes: codes.round().clamp(-3, 3)),
           clipped_from_minus_4=lambda *case: kept(*case, whole=lambda codes: codes.round().clamp(-4, 3)),
           clipped_at_7=lambda *case: kept(*case, whole=lambda codes: codes.round().clamp(-7, 7))),
    *slips("Return multiples of the step: codes times step.", codes=lambda *case: kept(*case) / case[2]),
    *slips("The last column is rounded too; it only has nobody to feed.",
           last_left=lambda *case: kept(*case, last=1)),
    *slips("Take the columns in their order, from the first to the last.",
           last_first=lambda w, h, step, damping: kept(w.flip(1), h.flip(0, 1), step, damping).flip(1)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="That is GPTQ. What libraries add is speed (one factorization, blocks) and the order of columns.",
    tolerance=1e-6
)  # fmt: skip
