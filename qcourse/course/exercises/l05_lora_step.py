"""Exercise 05.lora_step: one step of gradient descent on an adapter, by hand."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (x [tokens, in], weight, a [rank, in], b [out, rank], alpha, grad [tokens, out], rate)."""
    draw = torch.Generator().manual_seed(52)
    found = []
    for t, i, o, r, alpha in ((1, 3, 2, 1, 2.0), (4, 5, 3, 2, 8.0), (3, 4, 4, 2, 1.0)):
        x, w, a, b, g = (
            torch.randn(*shape, generator=draw) for shape in ((t, i), (o, i), (r, i), (o, r), (t, o))
        )
        found.append((x, w, a, b, alpha, g, 0.1))
    return found


def reference(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, grad: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Let autograd find the gradients of sum(grad * output), and step against them."""
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    with torch.enable_grad():
        output = x @ weight.T + alpha / len(a) * x @ a.T @ b.T
        of_a, of_b = torch.autograd.grad((grad * output).sum(), (a, b))
    return a.detach() - rate * of_a, b.detach() - rate * of_b


def stepped(
    x: Tensor, a: Tensor, b: Tensor, grad: Tensor, rate: float, later: bool = False
) -> tuple[Tensor, Tensor]:
    """Step with a rate that has the factor inside; b after a if `later`."""
    new_a = a - rate * b.T @ grad.T @ x
    return new_a, b - rate * grad.T @ (x @ (new_a if later else a).T)


def uphill(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, grad: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Step against the gradient: subtract rate times it."""
    return reference(x, weight, a, b, alpha, grad, -rate)


def no_factor(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, grad: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """The chain rule passes through the factor alpha / rank too: both gradients carry it."""
    return stepped(x, a, b, grad, rate)


def alpha_alone(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, grad: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """The factor is alpha / rank; rank is the number of rows of a."""
    return stepped(x, a, b, grad, rate * alpha)


def one_after_the_other(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, grad: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Both gradients belong to the same point: take that of b from the old a."""
    return stepped(x, a, b, grad, rate * alpha / len(a), later=True)


def only_b(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, grad: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """a is trained too, with the gradient b^T grad^T x. (It is 0 in the first step only, where b is 0.)"""
    return (a, reference(x, weight, a, b, alpha, grad, rate)[1])


EXERCISE = Exercise(
    cases, reference, (uphill, no_factor, alpha_alone, one_after_the_other, only_b),
    praise="The base's weight appears in no gradient: it only passes the gradient on to the layers before.",
    tolerance=1e-4
)  # fmt: skip
