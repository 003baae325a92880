"""Exercise 05.merged_weight: fold an adapter into the base that it was trained on."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (original, dequantized, a, b, alpha) with ranks 1, 2 and 4."""
    draw = torch.Generator().manual_seed(5)
    found = []
    for rank, alpha in ((1, 2.0), (2, 8.0), (4, 4.0)):
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


def into_original(original: Tensor, dequantized: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """The adapter was trained on top of the dequantized weights and also learned to undo part of their error.
    Add it to those, not to the original.
    """
    return original + alpha / a.shape[0] * (b @ a)


def unscaled(original: Tensor, dequantized: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """The adapter's output is multiplied by alpha / rank before it is added."""
    return dequantized + b @ a


def alpha_only(original: Tensor, dequantized: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """The factor is alpha / rank; rank is the number of rows of a."""
    return dequantized + alpha * (b @ a)


EXERCISE = Exercise(
    cases, reference, (into_original, unscaled, alpha_only),
    praise="One dense weight now computes what base and adapter computed together.", tolerance=1e-4
)  # fmt: skip
