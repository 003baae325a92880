"""Exercise 05.merged_weight: fold an adapter into the base that it was trained on."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips
from qcourse.course.exercises.l05_lora_forward import factor_slips


def cases() -> list[tuple]:
    """Return (original, dequantized, a, b, alpha) with ranks 1, 2 and 4."""
    draw = torch.Generator().manual_seed(5)
    found = []
    for rank, alpha in ((1, 2.0), (2, 8.0), (4, 6.0)):
        original = torch.randn(6, 5, generator=draw)
        found.append(
            (
                original,
                (original * 4).round() / 4,
                torch.randn(rank, 5, generator=draw),
                torch.randn(6, rank, generator=draw),
                alpha,
            )
        )
    return found


def reference(original: Tensor, dequantized: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """Return dequantized + alpha / rank * b a, summed one rank at a time."""
    merged = dequantized.clone()
    for r in range(a.shape[0]):
        merged += alpha / a.shape[0] * torch.outer(b[:, r], a[r])
    return merged


def merged(original: Tensor, dequantized: Tensor, a: Tensor, b: Tensor, alpha: float, base=None,
           factor: Callable = lambda alpha, a, b: alpha / len(a)) -> Tensor:  # fmt: skip
    """Add the adapter to a base made of the two weights."""
    start = base(original, dequantized) if base else dequantized
    return start + factor(alpha, a, b) * (b @ a)


WRONG = (
    *factor_slips(merged),
    *slips("The adapter was trained on top of the dequantized weights and also learned to undo part of "
           "their error. Add it to those, not to the original.",
           into_original=partial(merged, base=lambda original, dequantized: original),
           into_the_mean=partial(merged, base=lambda original, dequantized: (original + dequantized) / 2)),
    *slips("The model ran on the dequantized weight alone: the original, and the rounding error, are not in "
           "it.", into_both=partial(merged, base=torch.add),
           error_subtracted=partial(merged, base=lambda original, rounded: 2 * rounded - original)),
    *slips("That is the adapter alone: add it to the weight that it was trained on.",
           adapter_alone=partial(merged, base=lambda original, dequantized: 0 * original)),
    *slips("The adapter is missing.", base_alone=partial(merged, factor=lambda alpha, a, b: 0.0)),
    *slips("Only the adapter is scaled by alpha / rank, not the weight below it.",
           base_scaled=lambda original, dequantized, a, b, alpha: alpha / len(a) * (dequantized + b @ a)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="One dense weight now computes what base and adapter computed together.", tolerance=1e-4
)  # fmt: skip
