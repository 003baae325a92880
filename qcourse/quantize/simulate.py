"""The quantized model as an engine computes it: dequantized weights, quantized inputs where there are any."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.methods import llm_int8, w8a8_int8
from qcourse.models.products import linear
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.fp8 import fake_quantize_blocks, fake_quantize_static, fake_quantize_tokens
from qcourse.recipe import Recipe, named


class SimulatedLinear(nn.Linear):
    """A linear that quantizes its input before it multiplies. Weight and bias keep their names."""

    recipe: Recipe
    input_scale: Tensor | None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product with the quantized input [..., in], in the dtype of the input."""
        if self.recipe.method == "llm-int8":
            product = llm_int8.mixed_matmul(inputs, self.weight, self.recipe.threshold)
            return (product if self.bias is None else product + self.bias).to(inputs.dtype)
        return linear(self.quantize_input(inputs).to(inputs.dtype), self.weight, self.bias)

    def quantize_input(self, inputs: Tensor) -> Tensor:
        """Return the input [..., in] as its codes stand for it, float32."""
        if self.recipe.method == "w8a8-int8":
            if self.input_scale is None:
                return w8a8_int8.fake_quantize_tokens(inputs)
            return w8a8_int8.fake_quantize_static(inputs, self.input_scale)
        if self.recipe.method == "fp8-static":
            return fake_quantize_static(inputs, self.input_scale)
        if self.recipe.method == "fp8-block":
            return fake_quantize_blocks(inputs)
        return fake_quantize_tokens(inputs)


SIMULATED = ("llm-int8", "w8a8-int8", "fp8-dynamic", "fp8-static", "fp8-block")


STORED = {
    ("float8_e4m3fn", "token"): "fp8-dynamic", ("float8_e4m3fn", "tensor"): "fp8-static",
    ("float8_e4m3fn", "group"): "fp8-block", ("int8", "token"): "w8a8-int8", ("int8", "tensor"): "w8a8-int8",
    ("int8", None): "llm-int8",
}  # fmt: skip
"""Kind of codes and what inputs share a scale by -> the method whose inputs a file means."""


def install(module: nn.Linear, layer: QuantizedWeight, recipe: Recipe) -> None:
    """Give a linear its dequantized weight, in its own dtype, and the input quantization of the recipe."""
    # a new tensor: the old may be a mapped file
    module.weight.data = layer.dequantize_to(module.weight.dtype)
    quantize_inputs(module, layer, recipe)


def quantize_inputs(module: nn.Linear, layer: QuantizedWeight, recipe: Recipe) -> None:
    """Let a linear quantize its inputs where the recipe's method does."""
    if recipe.method in SIMULATED:
        module.__class__ = SimulatedLinear
        module.recipe, module.input_scale = recipe, layer.input_scale


def as_stored(model: nn.Module, layers: Mapping[str, QuantizedWeight]) -> nn.Module:
    """Let the linears of a model quantize their inputs as the layers read from a file say; return it.

    Raises QCourseError for a way of quantizing inputs that is not simulated here.
    """
    for name, layer in layers.items():
        method, by = STORED.get((layer.kind, layer.activations)), layer.activations
        if (by and method is None) or (by == "tensor" and layer.input_scale is None):
            raise QCourseError(
                f"{name} takes {layer.kind} inputs with a scale for each {by}, which is not simulated here; "
                "evaluate the artefact in an engine that serves it"
            )
        if method is not None:
            recipe = named(method)
            recipe = recipe if layer.threshold is None else replace(recipe, threshold=layer.threshold)
            quantize_inputs(model.get_submodule(name), layer, recipe)
    return model


@torch.no_grad()
def reference(quantized, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a copy of a QuantizedModel's model in `dtype`, its weights exactly what the codes stand for.

    In float32 this is what engines are judged against: `quantized.model` in bf16 rounds dequantized values.
    """
    model = copy.deepcopy(quantized.model).to(dtype)
    modules = dict(model.named_modules())
    for name, layer in quantized.layers.items():
        modules[name].weight.data.copy_(layer.dequantize())
    return model.eval()
