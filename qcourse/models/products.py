"""Matrix products that multiply in bf16 and add in fp32, and what to do on a CPU without bf16 units."""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


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


@functools.cache
def has_bf16_products() -> bool:
    """Return whether torch has a fast bf16 product on this CPU; without one it is ten times slower than fp32.

    x86 needs AVX-512 or AMX; most laptops have neither.
    """
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return True  # this torch does not say: leave its own kernels in place


def product_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype to multiply a tensor in: its own, or float32 for bf16 on a CPU without bf16 units."""
    slow = tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu" and not has_bf16_products()
    return torch.float32 if slow else tensor.dtype


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return inputs [..., in] times weight [out, in] transposed, plus bias, in the dtype of the inputs.

    On a CPU without bf16 units rows of bf16 are multiplied as float32 and rounded once: bf16 units compute
    the same, products exact and sums in float32. A single row (decoding) is read once either way and stays.
    """
    rows = inputs.numel() // max(1, inputs.shape[-1])
    if rows < 2 or product_dtype(inputs) == inputs.dtype:
        return nn.functional.linear(inputs, weight, bias)
    found = nn.functional.linear(inputs.float(), weight.float(), None if bias is None else bias.float())
    return found.to(torch.bfloat16)


def wide_products() -> AbstractContextManager:
    """Return a context in which bf16 matrices are multiplied as `linear` does, by torch.matmul and `@` too.

    For libraries that compute attention by matrix products. Nothing changes on a CPU with bf16 units.
    """
    return nullcontext() if has_bf16_products() else WideProducts()


class WideProducts(TorchFunctionMode):
    """Multiplies bf16 matrices on the CPU as float32 and rounds once."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        """Return the product in bf16, multiplied as float32; any other call as it is."""
        if func in (torch.matmul, Tensor.matmul, Tensor.__matmul__) and not kwargs:
            if all(isinstance(factor, Tensor) and product_dtype(factor) != factor.dtype for factor in args):
                return func(*(factor.float() for factor in args)).to(torch.bfloat16)
        return func(*args, **(kwargs or {}))


class WideLinear(nn.Linear):
    """A linear that multiplies by `linear`; its parameters are those of the linear that it was."""

    def forward(self, input: Tensor) -> Tensor:  # nn.Linear's name: llm-compressor passes it by name
        """Return the product [..., out], in the dtype of the input."""
        return linear(input, self.weight, self.bias)


def widen(model: nn.Module) -> nn.Module:
    """Let the linears of a bf16 model on a CPU without bf16 units multiply in fp32; return the model."""
    if not has_bf16_products():
        for module in model.modules():
            weight = getattr(module, "weight", None)  # compressed-tensors' linears hold none
            if type(module) is nn.Linear and weight is not None and weight.device.type == "cpu":
                module.__class__ = WideLinear
    return model


def narrow(model: nn.Module) -> nn.Module:
    """Undo `widen`, for libraries that take the class nn.Linear and no other; return the model."""
    for module in model.modules():
        if type(module) is WideLinear:
            module.__class__ = nn.Linear
    return model
