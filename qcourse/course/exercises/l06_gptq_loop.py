"""Exercise 06.gptq_loop: the whole of GPTQ, column by column."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (w [out, in], h [in, in], step [out, 1], damping): weights, mean of x x^T, steps of the rows."""
    draw = torch.Generator().manual_seed(62)
    found = []
    for rows, columns, damping, top in ((1, 2, 0.01, 3), (2, 4, 0.1, 3), (8, 16, 0.5, 3), (4, 8, 0.05, 7)):
        mix = torch.eye(columns) + 0.4 * torch.randn(columns, columns, generator=draw)
        x = torch.randn(6 * columns, columns, generator=draw, dtype=torch.float64) @ mix.double()
        w = torch.randn(rows, columns, generator=draw, dtype=torch.float64)
        found.append((w, x.T @ x / len(x), w.abs().amax(1, keepdim=True) / top, damping))
    return found


def loop(
    w: Tensor,
    h: Tensor,
    step: Tensor,
    damping: float,
    eliminate: bool = True,
    damp: str = "mean",
    back: bool = True,
) -> Tensor:
    """Round column j, solve for the best change of those after it, and drop row and column j from H."""
    w, steps = w.clone(), step[:, 0]
    extra = {"mean": damping * float(h.diagonal().mean()), "none": 0.0, "plain": damping}[damp]
    h = h + extra * torch.eye(len(h), dtype=h.dtype)
    for j in range(len(h)):
        q = (w[:, j] / steps).round() * steps
        left = slice(j + 1, None)
        if back and j + 1 < len(h):
            part = h[left, left] if eliminate else h
            told = torch.linalg.solve(part, h[:, j] if not eliminate else h[left, j])
            w[:, left] += torch.outer(w[:, j] - q, told if eliminate else told[left])
        w[:, j] = q
    return w


def inverse_kept(
    w: Tensor, h: Tensor, step: Tensor, damping: float, original: Tensor | None = None
) -> Tensor:
    """A rounded column must leave the problem: after column j, subtract outer(h_inv[:, j], h_inv[j]) /
    h_inv[j, j] from h_inv, or invert what is left of H.
    """
    w, steps = w.clone(), step[:, 0]
    inverse = torch.linalg.inv(h + damping * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype))
    for j in range(len(h)):
        q = (w[:, j] / steps).round() * steps
        w[:, j + 1 :] -= torch.outer(
            ((w if original is None else original)[:, j] - q) / inverse[j, j], inverse[j, j + 1 :]
        )
        w[:, j] = q
        if original is not None:
            inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return w


def plain_rounding(w: Tensor, h: Tensor, step: Tensor, damping: float) -> Tensor:
    """This is plain rounding: no error is fed back."""
    return loop(w, h, step, damping, back=False)


def no_damping(w: Tensor, h: Tensor, step: Tensor, damping: float) -> Tensor:
    """H is not damped: add damping times the mean of its diagonal."""
    return loop(w, h, step, damping, damp="none")


def damping_not_relative(w: Tensor, h: Tensor, step: Tensor, damping: float) -> Tensor:
    """The damping is relative: multiply it by the mean of H's diagonal before you add it."""
    return loop(w, h, step, damping, damp="plain")


def error_of_the_original(w: Tensor, h: Tensor, step: Tensor, damping: float) -> Tensor:
    """The error is that of column j as it is now, with the corrections it took in, not of the original
    weight.
    """
    return inverse_kept(w, h, step, damping, original=w)


EXERCISE = Exercise(
    cases, loop, (plain_rounding, inverse_kept, no_damping, damping_not_relative, error_of_the_original),
    praise="That is GPTQ. What libraries add is speed (one factorization, blocks) and the order of columns.",
    tolerance=1e-6
)  # fmt: skip
