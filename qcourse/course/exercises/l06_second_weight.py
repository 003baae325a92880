"""Exercise 06.second_weight: two weights, one of them rounded; where should the other go?"""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (w [2], q, h [2, 2]): weights, the value that w[0] was rounded to, the mean of x x^T."""
    draw = torch.Generator().manual_seed(61)
    found: list[tuple] = [(torch.tensor([0.4, 0.4]), 0.0, torch.tensor([[2.0, 1.0], [1.0, 1.0]]))]
    for q in (0.5, -1.0):
        x = torch.randn(50, 2, generator=draw) @ torch.tensor([[1.0, 0.8], [0.3, 2.0]])
        found.append((torch.randn(2, generator=draw), q, x.T @ x / len(x)))
    return found


def reference(w: Tensor, q: float, h: Tensor) -> float:
    """Set the derivative of d^T H d with respect to d[1] to zero."""
    return float(w[1]) + (float(w[0]) - q) * float(h[0, 1]) / float(h[1, 1])


def sign(w: Tensor, q: float, h: Tensor) -> float:
    """The sign: inputs that move together need changes in opposite directions to cancel."""
    return 2 * float(w[1]) - reference(w, q, h)


def first_diagonal(w: Tensor, q: float, h: Tensor) -> float:
    """You divide by h[0, 0]. The derivative is taken with respect to d[1]: 2 (h[0, 1] d[0] +
    h[1, 1] d[1]).
    """
    return float(w[1] + (w[0] - q) * h[0, 1] / h[0, 0])


def all_of_the_error(w: Tensor, q: float, h: Tensor) -> float:
    """That is right only if both inputs are always equal: weigh by how much they move together."""
    return float(w[1] + w[0] - q)


def the_change(w: Tensor, q: float, h: Tensor) -> float:
    """That is the change d[1]: add it to w[1]."""
    return reference(w, q, h) - float(w[1])


def untouched(w: Tensor, q: float, h: Tensor) -> float:
    """The second weight has not moved."""
    return float(w[1])


EXERCISE = Exercise(
    cases, reference, (sign, first_diagonal, all_of_the_error, the_change, untouched),
    praise="This is GPTQ in two variables; the rest of the lesson does it for a column among thousands."
)  # fmt: skip
