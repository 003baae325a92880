"""Exercise 06.inverse_factor: the triangular matrix that holds every inverse of the loop."""

from collections.abc import Callable

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (h [in, in], damping): a small one, a larger one, and one of fewer tokens than inputs."""
    draw = torch.Generator().manual_seed(63)
    found = []
    for tokens, columns, damping in ((20, 2, 0.01), (60, 6, 0.05), (4, 8, 0.1)):
        x = torch.randn(tokens, columns, generator=draw, dtype=torch.float64)
        found.append((x.T @ x / tokens, damping))
    return found


def damped(h: Tensor, damping: float) -> Tensor:
    """Add damping times the mean of the diagonal to the diagonal."""
    return h + damping * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype)


def reference(h: Tensor, damping: float) -> Tensor:
    """Eliminate one column after the other and keep each first row over the root of its pivot."""
    inverse, factor = torch.linalg.inv(damped(h, damping)), torch.zeros_like(h)
    for j in range(len(h)):
        factor[j] = inverse[j] / inverse[j, j].sqrt()
        inverse = inverse - torch.outer(factor[j], factor[j])
    return factor.triu()


def upper(matrix: Tensor) -> Tensor:
    """Return the upper Cholesky factor."""
    return torch.linalg.cholesky(matrix, upper=True)


def added(size) -> Callable:
    """Return the answer with damping times size(h) added to the diagonal of h."""
    return lambda h, damping: reference(h + damping * torch.diag(size(h).expand(len(h))), 0.0)


def damped_inverse(h: Tensor, damping: float) -> Tensor:
    """Damp H, then invert it: the inverse is what damping makes safe."""
    nearly = torch.linalg.inv(h + 1e-6 * torch.eye(len(h), dtype=h.dtype))  # fewer tokens than inputs
    return upper(nearly + damped(h, damping) - h)


def symmetric_root(h: Tensor, damping: float) -> Tensor:
    """That is the symmetric root of the inverse: a Cholesky factor is triangular."""
    values, vectors = torch.linalg.eigh(damped(h, damping))
    return vectors / values.sqrt() @ vectors.T


WRONG = (
    damped_inverse, symmetric_root,
    *slips("That factors H: asked is the factor of the inverse of the damped H.",
           of_h=lambda h, damping: upper(damped(h, damping)),
           of_h_lower=lambda h, damping: upper(damped(h, damping)).T),
    *slips("That is the lower triangle: row j must reach the columns after j, so U is upper (upper=True).",
           lower=lambda h, damping: reference(h, damping).T),
    *slips("U U^T gives the inverse here, but U^T U must: invert H first, then factor.",
           inverse_of_the_factor=lambda h, damping: torch.linalg.inv(upper(damped(h, damping)))),
    *slips("Its product with its transpose is the inverse, but it is lower triangular: invert H first, then "
           "factor, upper.",
           inverse_of_the_lower=lambda h, damping: torch.linalg.inv(upper(damped(h, damping)).T)),
    *slips("That is the inverse itself: take its Cholesky factor.",
           not_a_factor=lambda h, damping: torch.linalg.inv(damped(h, damping)),
           triangle=lambda h, damping: torch.linalg.inv(damped(h, damping)).triu()),
    *slips("Your rows are divided by their diagonal already: return the factor itself.",
           normalized=lambda h, damping: reference(h, damping) / reference(h, damping).diagonal()[:, None]),
    *slips("1 / H inverts each entry: torch.linalg.inv inverts the matrix.",
           entries=lambda h, damping: torch.diag(damped(h, damping).diagonal() ** -0.5)),
    *slips("The damping is relative: multiply it by the mean of H's diagonal.",
           damping_not_relative=added(lambda h: torch.ones(1, dtype=h.dtype))),
    *slips("Damping times the mean of H's *diagonal*: not that of all entries, its sum or its largest.",
           mean_of_all=added(lambda h: h.abs().mean()), trace=added(lambda h: h.trace()),
           largest=added(lambda h: h.diagonal().max()), each_entry=added(lambda h: h.diagonal())),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Row j over U[j, j] is what the loop computed by elimination: one factorization replaces them "
    "all.", tolerance=1e-6
)  # fmt: skip
