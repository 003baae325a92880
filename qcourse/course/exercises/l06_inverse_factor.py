"""Exercise 06.inverse_factor: the triangular matrix that holds every inverse of the loop."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


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


def of_h(h: Tensor, damping: float) -> Tensor:
    """That factors H: asked is the factor of the inverse of the damped H."""
    return torch.linalg.cholesky(damped(h, damping), upper=True)


def lower(h: Tensor, damping: float) -> Tensor:
    """That is the lower triangle: row j must reach the columns after j, so U is upper (upper=True)."""
    return reference(h, damping).T


def inverse_of_the_factor(h: Tensor, damping: float) -> Tensor:
    """U U^T gives the inverse here, but U^T U must: invert H first, then factor."""
    return torch.linalg.inv(of_h(h, damping))


def not_a_factor(h: Tensor, damping: float) -> Tensor:
    """That is the inverse itself: take its Cholesky factor."""
    return torch.linalg.inv(damped(h, damping))


def damping_not_relative(h: Tensor, damping: float) -> Tensor:
    """The damping is relative: multiply it by the mean of H's diagonal."""
    return reference(h + damping * (1 - h.diagonal().mean()) * torch.eye(len(h)), damping)


EXERCISE = Exercise(
    cases, reference, (of_h, lower, inverse_of_the_factor, not_a_factor, damping_not_relative),
    praise="Row j over U[j, j] is what the loop computed by elimination: one factorization replaces them "
    "all.", tolerance=1e-6
)  # fmt: skip
