"""Exercise 05.lora_forward: a linear layer with an adapter beside it."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slip


def cases() -> list[tuple]:
    """Return (x [tokens, in], weight [out, in], a [rank, in], b [out, rank], alpha)."""
    draw = torch.Generator().manual_seed(51)
    shapes = ((2, 4, 3, 1, 2.0), (3, 5, 5, 2, 8.0), (4, 6, 3, 4, 6.0))
    return [(*(torch.randn(*shape, generator=draw) for shape in ((t, i), (o, i), (r, i), (o, r))), alpha)
            for t, i, o, r, alpha in shapes]  # fmt: skip


def forward(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, base: bool = True, over_rank: bool = True
) -> Tensor:
    """Return x W^T + alpha / rank * B (A x), one token at a time."""
    factor = alpha / (a.shape[0] if over_rank else 1)
    rows = [(weight @ token if base else 0) + factor * (b @ (a @ token)) for token in x]
    return torch.stack(rows)


def adapter_alone(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """The frozen layer's own output is missing."""
    return forward(x, weight, a, b, alpha, base=False)


def alpha_alone(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """The factor is alpha / rank; rank is the number of rows of a."""
    return forward(x, weight, a, b, alpha, over_rank=False)


def no_factor(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """The adapter's output is multiplied by alpha / rank before it is added."""
    return forward(x, weight, a, b, float(len(a)))


def base_scaled(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """Only the adapter is scaled by alpha / rank, not the frozen layer."""
    return alpha / len(a) * forward(x, weight, a, b, float(len(a)))


def no_adapter(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """That is the frozen layer; the adapter is missing."""
    return x @ weight.T


SLIPS = (
    slip("whole division", "alpha / rank need not be a whole number: use /, not //.",
         lambda x, weight, a, b, alpha: forward(x, weight, a, b, alpha // len(a) * len(a))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, forward,
    (adapter_alone, alpha_alone, no_factor, base_scaled, no_adapter, *SLIPS),
    praise="Two thin products beside one wide one, and no weight of the base was touched.", tolerance=1e-4
)  # fmt: skip
