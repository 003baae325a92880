"""Exercise 05.lora_step: one step of gradient descent on an adapter, by hand."""

from collections.abc import Callable

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips
from qcourse.course.exercises.l05_lora_forward import factor_slips


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


def stepped(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, grad: Tensor, rate: float,
            of_a: float = 1.0, of_b: float = 1.0, factor: Callable = lambda alpha, a, b: alpha / len(a),
            later_a=None, later_b=None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Step by hand; of_a, of_b: times the steps; later_a, later_b: matrices in place of the old ones."""
    slope = rate * factor(alpha, a, b) * grad.T @ x
    return (a - of_a * (b if later_b is None else later_b).T @ slope,
            b - of_b * slope @ (a if later_a is None else later_a).T)  # fmt: skip


def times(of_a: Callable, of_b: Callable | None = None) -> Callable:
    """Return the step with each part multiplied by of_a(case), of_b(case)."""
    return lambda *case: stepped(*case, of_a=of_a(*case), of_b=(of_b or of_a)(*case))


def one(*case: object) -> float:
    """Return what leaves a part as it is."""
    return 1.0


def over_factor(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, *others: object) -> float:
    """Return what takes the factor alpha / rank away."""
    return len(a) / alpha


def changes(*case) -> tuple[Tensor, Tensor]:
    """Return what is subtracted from a and from b."""
    new_a, new_b = reference(*case)
    return case[2] - new_a, case[3] - new_b


WRONG = (
    *slips("Step against the gradient: subtract rate times it.", uphill=times(lambda *case: -1.0),
           uphill_a=times(lambda *case: -1.0, one), uphill_b=times(one, lambda *case: -1.0)),
    *slips("The chain rule passes through the factor alpha / rank too: both gradients carry it.",
           no_factor=times(over_factor), factor_of_a_only=times(one, over_factor),
           factor_of_b_only=times(over_factor, one)),
    *(known for known in factor_slips(stepped) if known.__name__ not in ("no_factor", "subtracted")),
    *slips("Both gradients belong to the same point: take the old values for both.",
           one_after_the_other=lambda *case: stepped(*case, later_a=reference(*case)[0]),
           b_first=lambda *case: stepped(*case, later_b=reference(*case)[1])),
    *slips("a is trained too, with the gradient b^T grad^T x. (It is 0 in the first step only, where b is "
           "0.)", only_b=times(lambda *case: 0.0, one)),
    *slips("b is trained too, with the gradient grad^T x a^T.", only_a=times(one, lambda *case: 0.0)),
    *slips("Nothing has moved: subtract rate times the gradients.", untouched=times(lambda *case: 0.0)),
    *slips("The gradients are sums over tokens: `grad` has the loss's mean in it already.",
           mean_over_tokens=times(lambda x, *others: 1 / len(x))),
    *slips("The rate is missing: it says how far to step.", no_rate=times(lambda *case: 1 / case[-1])),
    *slips("Those are the gradients, or the steps: subtract rate times the gradients from a and b.",
           gradients=lambda *case: tuple(change / case[-1] for change in changes(*case)), steps=changes),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="The base's weight appears in no gradient: it only passes the gradient on to the layers before.",
    tolerance=1e-4
)  # fmt: skip
