"""Shipping a fine-tuned model on what was calibrated for its base: the same scales, nothing measured anew."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.models import linears
from qcourse.numerics.grid import Grid
from qcourse.numerics.types import QuantizedWeight
from qcourse.quantize import QuantizedModel


def on_grid_of(weight: Tensor, quantized: QuantizedWeight) -> QuantizedWeight:
    """Round a weight [out, in] to the nearest codes of another weight's grid: its scales and zero points.

    Raises QCourseError for another shape, or a format that is not an integer grid.
    """
    if quantized.kind != "int":
        raise QCourseError(f"only integer grids can be reused, not {quantized.kind}; quantize the model anew")
    if weight.shape != quantized.codes.shape:
        raise QCourseError(
            f"the weight is {tuple(weight.shape)}, the grid {tuple(quantized.codes.shape)}; "
            "take the grid of the same layer"
        )
    scale, zero = quantized.per_column(quantized.scale), quantized.per_column(quantized.zero_point)
    grid = Grid(scale, zero, quantized.bits, quantized.symmetric)
    return replace(quantized, codes=grid.codes(weight.float()).to(torch.uint8))


@torch.no_grad()
def reuse_scales(model: nn.Module, base: Mapping[str, QuantizedWeight]) -> dict[str, QuantizedWeight]:
    """Round a tuned model's linears to the grids of its base, in place; return what would be stored."""
    stored = {}
    modules = linears(model)
    for name, quantized in base.items():
        stored[name] = on_grid_of(modules[name].weight, quantized)
        modules[name].weight.copy_(stored[name].dequantize())
    return stored


def input_scales(quantized: QuantizedModel) -> dict[str, Tensor]:
    """Return the static input scale of each linear by name; empty for recipes with none."""
    found = {name: layer.input_scale for name, layer in quantized.layers.items()}
    return {name: scale for name, scale in found.items() if scale is not None}


def use_input_scales(quantized: QuantizedModel, scales: Mapping[str, Tensor]) -> QuantizedModel:
    """Give a model with static activations the input scales of another calibration, in place; return it."""
    modules = dict(quantized.model.named_modules())
    for name, scale in scales.items():
        quantized.layers[name].input_scale = scale
        modules[name].input_scale = scale
    return quantized


@torch.no_grad()
def clipped_share(
    model: nn.Module, tokens: Tensor, scales: Mapping[str, Tensor], largest: float = 448.0
) -> dict[str, float]:
    """Return, by linear, the share of input values whose magnitude exceeds scale * largest.

    model: dense or quantized; tokens: int64 [B, T]; largest: of the 8-bit format (E4M3's 448).
    """
    found, modules = {}, dict(model.named_modules())

    def counter(name: str, limit: float):
        def count(_: nn.Module, args: tuple) -> None:
            found[name] = float((args[0].float().abs() > limit).float().mean())

        return count

    handles = [
        modules[name].register_forward_pre_hook(counter(name, float(scale) * largest))
        for name, scale in scales.items()
    ]
    try:
        model(input_ids=tokens.to(next(model.parameters()).device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found
