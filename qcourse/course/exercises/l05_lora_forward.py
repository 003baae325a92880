"""Exercise 05.lora_forward: a linear layer with an adapter beside it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (x [tokens, in], weight [out, in], a [rank, in], b [out, rank], alpha)."""
    draw = torch.Generator().manual_seed(51)
    shapes = ((2, 4, 3, 1, 2.0), (3, 5, 5, 2, 8.0), (4, 6, 3, 4, 6.0))
    return [(*(torch.randn(*shape, generator=draw) for shape in ((t, i), (o, i), (r, i), (o, r))), alpha)
            for t, i, o, r, alpha in shapes]  # fmt: skip


def forward(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float, base: float = 1.0,
            factor: Callable = lambda alpha, a, b: alpha / len(a)) -> Tensor:  # fmt: skip
    """Return x W^T + alpha / rank * B (A x), one token at a time."""
    return torch.stack([base * (weight @ token) + factor(alpha, a, b) * (b @ (a @ token)) for token in x])


def factor_slips(answer: Callable) -> tuple[Callable, ...]:
    """Return wrong answers of a function whose `factor` makes alpha, A and B the factor of the adapter."""
    return (
        *slips("The factor is alpha / rank; rank is the number of rows of a.",
               alpha_alone=partial(answer, factor=lambda alpha, a, b: alpha),
               over_inputs=partial(answer, factor=lambda alpha, a, b: alpha / a.shape[1]),
               over_outputs=partial(answer, factor=lambda alpha, a, b: alpha / len(b)),
               rank_over_alpha=partial(answer, factor=lambda alpha, a, b: len(a) / alpha),
               alpha_times_rank=partial(answer, factor=lambda alpha, a, b: alpha * len(a)),
               squared=partial(answer, factor=lambda alpha, a, b: (alpha / len(a)) ** 2)),
        *slips("alpha is missing from the factor, alpha / rank.",
               over_rank_alone=partial(answer, factor=lambda alpha, a, b: 1 / len(a))),
        *slips("alpha / root of rank is a variant (rsLoRA); here the factor is alpha / rank.",
               over_the_root=partial(answer, factor=lambda alpha, a, b: alpha / len(a) ** 0.5)),
        *slips("The adapter's output is multiplied by alpha / rank before it is added.",
               no_factor=partial(answer, factor=lambda alpha, a, b: 1.0)),
        *slips("alpha / rank need not be a whole number: use /, not //.",
               whole_division=partial(answer, factor=lambda alpha, a, b: alpha // len(a))),
        *slips("The sign: the adapter is added to the base.",
               subtracted=partial(answer, factor=lambda alpha, a, b: -alpha / len(a))),
    )  # fmt: skip


WRONG = (
    *factor_slips(forward),
    *slips("The frozen layer's own output is missing.", adapter_alone=partial(forward, base=0.0)),
    *slips("That is the frozen layer; the adapter is missing.",
           no_adapter=lambda x, weight, a, b, alpha: x @ weight.T),
    *slips("Only the adapter is scaled by alpha / rank, not the frozen layer.",
           base_scaled=lambda x, weight, a, b, alpha: forward(x, weight, a, b, alpha, base=alpha / len(a))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, forward,
    WRONG,
    praise="Two thin products beside one wide one, and no weight of the base was touched.", tolerance=1e-4
)  # fmt: skip
