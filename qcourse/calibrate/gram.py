"""Products of activations summed over tokens: GPTQ's Hessian and AWQ's yardstick, at bf16 speed in fp32."""

import torch
from torch import Tensor

from qcourse.models.products import bf16_products

BLOCK = 128


def accumulate_gram(upper: Tensor, inputs: Tensor) -> None:
    """Add x x^T of every token to the blocks of `upper` on and above its diagonal, in place.

    upper: float32 [in, in]; inputs: [..., in], used as bf16 values. `mirror` fills in the rest.
    """
    rows = bf16_rows(inputs)
    with bf16_products():
        for start in range(0, rows.shape[1], BLOCK):
            stop = start + BLOCK
            upper[start:stop, start:].addmm_(rows[:, start:stop].T, rows[:, start:])


def accumulate_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add l r^T of every token to `total` in place; left, right: [..., in], used as bf16 values."""
    with bf16_products():
        total.addmm_(bf16_rows(left).T, bf16_rows(right))


def mirror(upper: Tensor) -> Tensor:
    """Copy what `accumulate_gram` added above the diagonal to below it, in place; return the same tensor."""
    for start in range(0, len(upper), BLOCK):
        stop = start + BLOCK
        upper[stop:, start:stop] = upper[start:stop, stop:].T
    return upper


def bf16_rows(inputs: Tensor) -> Tensor:
    """Return [tokens, columns] in float32, rounded to values that bf16 holds."""
    return inputs.reshape(-1, inputs.shape[-1]).to(torch.bfloat16).float()
