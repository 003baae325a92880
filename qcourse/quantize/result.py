"""A model after quantization: its codes, and the manifest of what was done to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from qcourse.calibrate import tokens_hash
from qcourse.numerics import QuantizedWeight
from qcourse.recipe import Recipe


@dataclass
class QuantizedModel:
    """A model after quantization.

    model: the module that was given, its weights replaced by the dequantized values in its dtype and, where
    the recipe says so, its linears quantizing their inputs as an engine would. layers: the codes of each
    quantized linear by full name. manifest: what was done to each layer and with which calibration tokens.
    """

    model: nn.Module
    recipe: Recipe
    layers: dict[str, QuantizedWeight] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    def bits_per_quantized_weight(self) -> float:
        """Return stored bits divided by weights, over the quantized linears only (16.0 if there are none)."""
        weights = sum(layer.codes.numel() for layer in self.layers.values())
        bits = sum(layer.bits_per_weight() * layer.codes.numel() for layer in self.layers.values())
        return bits / weights if weights else 16.0


def start_manifest(model: nn.Module, recipe: Recipe, tokens: Tensor | None) -> dict[str, Any]:
    """Return the manifest of a run that is about to start: fields of an artefact's record."""
    calibration = None
    if tokens is not None and recipe.needs_calibration:
        sizes = {"sequences": tokens.shape[0], "seq_len": tokens.shape[1]}
        calibration = sizes | {"sha256": tokens_hash(tokens)}
    return {
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "calibration": calibration,
        "transforms": {},
        "layers": {},
        "kept": [],
    }
