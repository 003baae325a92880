"""float16, whose largest value is 65504, and the words for a value beyond it."""

import torch
from torch import Tensor

LIMIT = 65504
INFINITE_FROM = 65520
"""The least magnitude that rounds to infinity in float16: half a step above the largest value."""


def to_half(values: Tensor, what: str, fix: str) -> Tensor:
    """Return the values rounded to float16, ties to even.

    what: the words for a value, such as "a weight"; fix: what to do instead.
    Raises ValueError naming the largest magnitude where one rounds to infinity.
    """
    half = values.to(torch.float16)
    if not half.isfinite().all():
        largest = float(values.abs().max())
        raise ValueError(f"{what} of {largest:.6g} does not fit in float16 (limit {LIMIT}); {fix}")
    return half
