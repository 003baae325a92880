"""Folding adapters into a base: into the one they were trained on, dequantized, or into the original."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.finetune.qlora import QuantizedLinear
from qcourse.models import linears


def deltas(adapted: nn.Module) -> dict[str, Tensor]:
    """Return alpha/rank * B @ A of every adapter, float32 [out, in], by linear name in the plain model."""
    found = {}
    for name, module in adapted.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        for adapter in module.active_adapters:
            product = module.lora_B[adapter].weight.float() @ module.lora_A[adapter].weight.float()
            plain = name.removeprefix("base_model.model.")
            found[plain] = found.get(plain, 0) + (module.scaling[adapter] * product).detach()
    return found


@torch.no_grad()
def dequantized_base(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that a quantized base computes with, float32 [out, in], by linear name.

    Works on a plain model and on one wrapped by peft. Raises QCourseError for a
    bitsandbytes layer that was repacked at its first inference forward (CPUs
    with AVX512-BF16): its scales were rounded to bf16 then and are no longer
    those that training saw.
    """
    weights = {}
    for name, module in model.named_modules():
        plain = name.removeprefix("base_model.model.").removesuffix(".base_layer")
        if isinstance(module, QuantizedLinear):
            weights[plain] = module.weight
        elif type(module).__name__ == "Linear4bit" and not hasattr(module, "lora_A"):
            weights[plain] = _dequantize_4bit(plain, module)
    return weights


def _dequantize_4bit(name: str, module: nn.Module) -> Tensor:
    """Return the float32 weight of a bitsandbytes 4-bit layer."""
    import bitsandbytes as bnb

    state = module.weight.quant_state
    if getattr(state, "packing_format_for_cpu", False):
        raise QCourseError(
            f"{name} was repacked for inference and its scales rounded to bf16; "
            "take the dequantized base before the first evaluation"
        )
    return bnb.functional.dequantize_4bit(module.weight.data, state).float()


@torch.no_grad()
def merge(
    model: nn.Module, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Write base + adapter into the linears of a dense `model`, in place, in its dtype.

    base: from dequantized_base (the weights the adapter was trained against);
    None adds the adapter to the model's own weights, which it never saw.
    Raises QCourseError when a name or shape does not belong to `model`.
    """
    layers = linears(model)
    for name in {**adapter, **(base or {})}:
        if name not in layers:
            raise QCourseError(f"the model has no linear {name}; load the one the adapter was trained on")
    for name, linear in layers.items():
        start = linear.weight.float() if base is None else base[name].to(linear.weight.device)
        change = adapter.get(name, torch.zeros(()))
        if change.ndim and change.shape != linear.weight.shape:
            raise QCourseError(
                f"the adapter of {name} is {tuple(change.shape)}, the layer "
                f"{tuple(linear.weight.shape)}; load the one that the adapter was trained on"
            )
        linear.weight.copy_(start + change.to(linear.weight.device))
    return model
