"""The quantized model as an engine computes it: dequantized weights, quantized inputs where there are any."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from qcourse.methods import llm_int8, w8a8_int8
from qcourse.models.products import linear
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.fp8 import fake_quantize_blocks, fake_quantize_static, fake_quantize_tokens
from qcourse.recipe import Recipe


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
        return (
            fake_quantize_blocks(inputs)
            if self.recipe.method == "fp8-block"
            else fake_quantize_tokens(inputs)
        )


SIMULATED = ("llm-int8", "w8a8-int8", "fp8-dynamic", "fp8-static", "fp8-block")


def install(module: nn.Linear, layer: QuantizedWeight, recipe: Recipe) -> None:
    """Give a linear its dequantized weight, in its own dtype, and the input quantization of the recipe."""
    # a new tensor: the old may be a mapped file
    module.weight.data = layer.dequantize_to(module.weight.dtype)
    if recipe.method in SIMULATED:
        module.__class__ = SimulatedLinear
        module.recipe, module.input_scale = recipe, layer.input_scale


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
