"""The Gram matrix of activations, X.T @ X: GPTQ's Hessian and AWQ's yardstick, at bf16 speed in fp32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

BLOCK = 512


@contextmanager
def bf16_products() -> Iterator[None]:
    """Let fp32 matrix products on the CPU multiply in bf16 and add in fp32; restored afterwards.

    Exact products for operands that hold bf16 values; elsewhere operands are rounded to bf16.
    A torch without the setting (before 2.9) keeps plain fp32.
    """
    setting = getattr(getattr(torch.backends, "mkldnn", None), "matmul", None)
    if setting is None or not torch.backends.mkldnn.is_available():
        yield
        return
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


def accumulate_gram(total: Tensor, inputs: Tensor) -> None:
    """Add x x^T of every token to `total` in place.

    total: float32 [in, in], symmetric; inputs: [..., in], used as bf16 values.
    Only blocks on and above the diagonal are computed, then mirrored.
    """
    rows = inputs.reshape(-1, inputs.shape[-1]).to(torch.bfloat16).float()
    columns = rows.shape[1]
    with bf16_products():
        for start in range(0, columns, BLOCK):
            stop = min(start + BLOCK, columns)
            product = rows[:, start:stop].T @ rows[:, start:]
            total[start:stop, start:] += product
            total[stop:, start:stop] += product[:, stop - start :].T
