"""Exercise 05.lora_step: one step of gradient descent on an adapter, by hand."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, Misconception


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


EXERCISE = Exercise(
    cases=cases,
    reference=reference,
    misconceptions=(
        Misconception(
            "uphill",
            lambda x, weight, a, b, alpha, grad, rate: reference(x, weight, a, b, alpha, grad, -rate),
            "Step against the gradient: subtract rate times it.",
        ),
        Misconception(
            "no factor",
            lambda x, weight, a, b, alpha, grad, rate: stepped(x, a, b, grad, rate),
            "The chain rule passes through the factor alpha / rank too: both gradients carry it.",
        ),
        Misconception(
            "alpha alone",
            lambda x, weight, a, b, alpha, grad, rate: stepped(x, a, b, grad, rate * alpha),
            "The factor is alpha / rank; rank is the number of rows of a.",
        ),
        Misconception(
            "one after the other",
            lambda x, weight, a, b, alpha, grad, rate: stepped(
                x, a, b, grad, rate * alpha / len(a), later=True
            ),
            "Both gradients belong to the same point: take that of b from the old a.",
        ),
        Misconception(
            "only b",
            lambda x, weight, a, b, alpha, grad, rate: (a, reference(x, weight, a, b, alpha, grad, rate)[1]),
            "a is trained too, with the gradient b^T grad^T x. (It is 0 in the first step only, where "
            "b is 0.)",
        ),
    ),
    praise="The base's weight appears in no gradient: it only passes the gradient on to the layers before.",
    tolerance=1e-4,
)
