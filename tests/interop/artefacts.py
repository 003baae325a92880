"""The artefacts that the engines are given: each made once, by our own quantizers and writers."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import MethodType

import torch
from torch import Tensor, nn

from qcourse import export
from qcourse.numerics import QuantizedWeight, quantize_int8
from qcourse.quantize import QuantizedModel, quantize, reference
from qcourse.quantize.simulate import SimulatedLinear
from qcourse.recipe import Recipe, named

MIXED = {"*.self_attn.[qkv]_proj": {"bits": 8}, "*.layers.1.mlp.*": {"bits": 3}, "*.o_proj": {"bits": 2}}
"""Widths as a bit budget gives them: q, k and v share one, gate and up too."""
FORMS = {
    "gptq": ("gptq-w4g128", "gptq"),
    "gptq 2 bits": ("gptq-w2g128", "gptq"),
    "gptq 8 bits": ("gptq-w8g128", "gptq"),
    "gptq 3 bits": ("gptq-w3g128", "gptq"),
    "gptq asymmetric": ("gptq-w4g128-asym", "gptq"),
    "gptq desc_act": ("gptq-w4g128-act", "gptq"),
    "gptq mixed widths": (Recipe("gptq", overrides=MIXED), "gptq"),
    "awq": ("awq-w4g128", "awq"),
    "w4a16": ("rtn-w4g128", "compressed-tensors"),
    "w4a16 asymmetric": ("rtn-w4g128-asym", "compressed-tensors"),
    "mixed widths": (Recipe("rtn", overrides=MIXED), "compressed-tensors"),
    "w8a8 int8": ("w8a8-int8", "compressed-tensors"),
    "fp8 dynamic": ("fp8-dynamic", "compressed-tensors"),
    "fp8 static": ("fp8-static", "compressed-tensors"),
    "mxfp4": ("mxfp4", "compressed-tensors"),
    "nvfp4": ("nvfp4", "compressed-tensors"),
    "nf4": ("nf4", "bitsandbytes"),
    "llm.int8": ("llm-int8", "bitsandbytes"),
}
"""Name -> recipe (or its name) and file format."""


@dataclass(frozen=True)
class Artefact:
    """A checkpoint folder and the quantized model that was written to it."""

    folder: Path
    quantized: QuantizedModel

    def reference(self) -> nn.Module:
        """Return the float32 model that an engine must compute, activations quantized as vLLM does."""
        return reference(self.quantized)

    def damaged(self, folder: Path, change, format: str) -> Path:
        """Write the checkpoint again with the linears of the first decoder layer damaged."""
        layers = {
            name: change(layer) if name.startswith("model.layers.0.") else layer
            for name, layer in self.quantized.layers.items()
        }
        return export.save(layers, self.quantized.model, None, folder, format)


def make(source: Path, form: str, folder: Path, tokens: Tensor) -> Artefact:
    """Quantize a model folder in one form, calibrated on tokens [n, T], and write it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    recipe, format = FORMS[form]
    recipe = named(recipe) if isinstance(recipe, str) else recipe
    done = quantize(model, recipe, tokens, progress=False)
    tokenizer = AutoTokenizer.from_pretrained(source)
    export.save(done.layers, done.model, tokenizer, folder, format, recipe, done.manifest)
    return Artefact(folder, done)


def simulated(model: nn.Module) -> list[SimulatedLinear]:
    """Return the linears of a reference that quantize their activations."""
    return [module for module in model.modules() if isinstance(module, SimulatedLinear)]


def as_transformers(model: nn.Module) -> nn.Module:
    """Let a reference round int8 activations as the libraries under transformers do, where vLLM differs."""
    for linear in simulated(model):
        if linear.recipe.method == "w8a8-int8":
            linear.quantize_input = MethodType(compressed_tensors_int8, linear)
        if linear.recipe.method == "llm-int8":
            linear.forward = MethodType(bitsandbytes_int8, linear)
    return model


def compressed_tensors_int8(self: SimulatedLinear, inputs: Tensor) -> Tensor:
    """Round each token by absmax / 127.5; the kernels of vLLM take absmax / 127."""
    codes, scale = quantize_int8(inputs.reshape(-1, inputs.shape[-1]), levels=127.5)
    return (codes.float() * scale).reshape(inputs.shape)


def bitsandbytes_int8(self: SimulatedLinear, inputs: Tensor) -> Tensor:
    """Multiply as bitsandbytes 0.50 does: inputs in float16, and a token's absmax is taken over all that lies
    under the threshold, also in the columns that are then multiplied in full precision."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    half = rows.half().float()
    outlier = half.abs() >= self.recipe.threshold
    absmax = (
        half.masked_fill(outlier, 0)
        .amax(1, keepdim=True)
        .maximum(-half.masked_fill(outlier, 0).amin(1, True))
    )
    codes = torch.round(half * (127 / absmax)).masked_fill(outlier.any(0), 0)
    kept = rows * outlier.any(0)
    # The library's constant for 1 / 127**2 is 6.200124e-05, off by 2e-5: enough to tip codes over further on.
    inside = (codes * (absmax / 127)) @ self.weight.T * (6.200124e-05 * 127**2)
    product = inside + kept @ self.weight.T
    return (product if self.bias is None else product + self.bias).reshape(*inputs.shape[:-1], -1)


def without_activations(model: nn.Module) -> nn.Module:
    """Let a reference leave its activations alone, as an engine that ignores half of the scheme would."""
    for linear in simulated(model):
        linear.__class__ = nn.Linear
        linear.__dict__.pop("forward", None)
    return model


def zero_point_off_by_one(layer: QuantizedWeight) -> QuantizedWeight:
    """Return the layer as a reader sees it that forgets GPTQ's minus one."""
    return replace(layer, zero_point=(layer.zero_point + 1).clamp(max=2**layer.bits - 1), symmetric=False)


def nibbles_swapped(layer: QuantizedWeight) -> QuantizedWeight:
    """Return the layer with the two codes of every byte exchanged."""
    return replace(layer, codes=layer.codes.unflatten(1, (-1, 2)).flip(-1).flatten(1))


def scales_exchanged(layer: QuantizedWeight) -> QuantizedWeight:
    """Return the layer with the scales of its first two groups (or rows, where each has one) exchanged."""
    scale = layer.scale.clone()
    if scale.shape[1] == 1:
        scale[[0, 1]] = scale[[1, 0]]
    else:
        scale[:, [0, 1]] = scale[:, [1, 0]]
    return replace(layer, scale=scale)


CONTROLS = {
    "zero point off by one": zero_point_off_by_one,
    "swapped nibbles": nibbles_swapped,
    "two groups' scales exchanged": scales_exchanged,
}
"""What must fail -> how it is done to a layer."""
