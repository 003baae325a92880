"""How short rows are trained fast on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def fast_on_cpu(model: nn.Module) -> Iterator[None]:
    """Let a bf16 model on a CPU also multiply its float32 adapters in bf16, and attend without flash kernels.

    The backward pass of PyTorch's CPU flash attention takes longer than all else on rows this short.
    """
    first = next(model.parameters())
    if first.device.type != "cpu" or first.dtype != torch.bfloat16:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
        yield
