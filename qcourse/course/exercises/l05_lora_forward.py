"""Exercise 05.lora_forward: a linear layer with an adapter beside it."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, Misconception


def cases() -> list[tuple]:
    """Return (x [tokens, in], weight [out, in], a [rank, in], b [out, rank], alpha)."""
    draw = torch.Generator().manual_seed(51)
    shapes = ((2, 4, 3, 1, 2.0), (3, 5, 5, 2, 8.0), (4, 6, 3, 4, 16.0))
    return [(*(torch.randn(*shape, generator=draw) for shape in ((t, i), (o, i), (r, i), (o, r))), alpha)
            for t, i, o, r, alpha in shapes]  # fmt: skip


def forward(
    x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, base: bool = True, over_rank: bool = True
) -> Tensor:
    """Return x W^T + alpha / rank * B (A x), one token at a time."""
    factor = alpha / (a.shape[0] if over_rank else 1)
    rows = [(weight @ token if base else 0) + factor * (b @ (a @ token)) for token in x]
    return torch.stack(rows)


EXERCISE = Exercise(
    cases=cases,
    reference=forward,
    misconceptions=(
        Misconception(
            "adapter alone", partial(forward, base=False), "The frozen layer's own output is missing."
        ),
        Misconception(
            "alpha alone",
            partial(forward, over_rank=False),
            "The factor is alpha / rank; rank is the number of rows of a.",
        ),
        Misconception(
            "no factor",
            lambda x, weight, a, b, alpha: forward(x, weight, a, b, float(len(a))),
            "The adapter's output is multiplied by alpha / rank before it is added.",
        ),
        Misconception(
            "base scaled",
            lambda x, weight, a, b, alpha: alpha / len(a) * forward(x, weight, a, b, float(len(a))),
            "Only the adapter is scaled by alpha / rank, not the frozen layer.",
        ),
        Misconception(
            "no adapter",
            lambda x, weight, a, b, alpha: x @ weight.T,
            "That is the frozen layer; the adapter is missing.",
        ),
    ),
    praise="Two thin products beside one wide one, and no weight of the base was touched.",
    tolerance=1e-4,
)
