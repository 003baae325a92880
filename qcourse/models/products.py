"""Matrix products on the CPU that multiply in bf16 and add in fp32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
