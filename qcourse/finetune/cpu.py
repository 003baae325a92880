"""How short rows are trained fast on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from qcourse.models.products import has_bf16_products


def autocast(device: str, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which a bf16 model multiplies in bf16, where its device has units for it."""
    fast = device != "cpu" or has_bf16_products()
    return torch.autocast(device, torch.bfloat16, enabled=fast and dtype == torch.bfloat16)


@contextmanager
def fast_on_cpu(model: nn.Module) -> Iterator[None]:
    """Let a bf16 model on a CPU also multiply its float32 adapters in bf16, and attend without flash kernels.

    The backward pass of PyTorch's CPU flash attention takes longer than all else on rows this short.
    Without bf16 units float32 is the faster product: adapters stay in it, and widened linears use it.
    """
    first = next(model.parameters())
    if first.device.type != "cpu" or first.dtype != torch.bfloat16:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH), autocast("cpu", torch.bfloat16):
        yield
