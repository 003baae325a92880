"""Exercise 06.second_weight: two weights, one of them rounded; where should the other go?"""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


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


def moved(
    w: Tensor, q: float, h: Tensor, first: float | None = None, part: float | None = None, at=1
) -> float:
    """Return w[at] less `part` of the first weight's change; first, part: in place of q - w[0], h01 / h11."""
    change = q - float(w[0]) if first is None else first
    return float(w[at] - change * (h[0, 1] / h[1, 1] if part is None else part))


WRONG = (
    *slips("The sign: inputs that move together need changes in opposite directions to cancel.",
           sign=lambda w, q, h: moved(w, q, h, part=-h[0, 1] / h[1, 1])),
    *slips("You divide by h[0, 0]. The derivative is taken with respect to d[1]: 2 (h[0, 1] d[0] + h[1, 1] "
           "d[1]).", first_diagonal=lambda w, q, h: moved(w, q, h, part=h[0, 1] / h[0, 0])),
    *slips("That is right only if both inputs are always equal: weigh by how much they move together.",
           all_of_the_error=lambda w, q, h: moved(w, q, h, part=1.0)),
    *slips("That is the change d[1]: add it to w[1].",
           the_change=lambda w, q, h: moved(w, q, h) - float(w[1])),
    *slips("The second weight has not moved.", untouched=lambda w, q, h: float(w[1])),
    *slips("Divide by what multiplies d[1] in the derivative.",
           not_divided=lambda w, q, h: moved(w, q, h, part=h[0, 1]),
           upside_down=lambda w, q, h: moved(w, q, h, part=h[1, 1] / h[0, 1]),
           by_diagonals=lambda w, q, h: moved(w, q, h, part=h[1, 1] / h[0, 0])),
    *slips("Both terms of the derivative carry the same factor 2: it cancels.",
           half=lambda w, q, h: moved(w, q, h, part=h[0, 1] / h[1, 1] / 2),
           twice=lambda w, q, h: moved(w, q, h, part=h[0, 1] / h[1, 1] * 2)),
    *slips("The second weight moves from where it was: the change is added to w[1].",
           from_the_first=lambda w, q, h: moved(w, q, h, at=0),
           from_q=lambda w, q, h: moved(w, q, h) - float(w[1]) + q),
    *slips("What counts is by how much the first weight moved, d[0] = q - w[0].",
           value_of_q=lambda w, q, h: moved(w, q, h, q),
           value_of_w=lambda w, q, h: moved(w, q, h, -float(w[0])),
           change_of_the_second=lambda w, q, h: moved(w, q, h, q - float(w[1]))),
    *slips("h is H itself: the equation needs its entries, not those of an inverse.",
           inverted=lambda w, q, h: moved(w, q, h, part=-h[0, 1] / h[0, 0])),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="This is GPTQ in two variables; the rest of the lesson does it for a column among thousands."
)  # fmt: skip
