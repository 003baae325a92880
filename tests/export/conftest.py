"""Small models of every family, and their layers quantized by plain rounding in every kind."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from qcourse.methods import llm_int8, w8a8_int8
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.affine import quantize_affine
from qcourse.numerics.codebook import quantize_codebook
from qcourse.numerics.fp4 import quantize_mxfp4, quantize_nvfp4
from qcourse.numerics.fp8 import quantize_fp8


def reordered(weight: torch.Tensor) -> QuantizedWeight:
    """Return a layer whose columns belong to groups in a shuffled order, as desc_act leaves them."""
    layer = quantize_affine(weight, 4, 64)
    g_idx = torch.arange(weight.shape[1])[torch.randperm(weight.shape[1])] // 64
    layer.g_idx = g_idx.to(torch.int32)
    return layer


def static(weight: torch.Tensor) -> QuantizedWeight:
    """Return an FP8 layer with a scale for its inputs, as static calibration leaves it."""
    layer = quantize_fp8(weight, "tensor")
    layer.input_scale = torch.tensor(0.0125)
    return layer


Quantizer = Callable[[torch.Tensor], QuantizedWeight]
KINDS: dict[str, tuple[str, Quantizer]] = {
    "gptq-w4g128": ("gptq", lambda w: quantize_affine(w, 4, 128)),
    "gptq-w2g64": ("gptq", lambda w: quantize_affine(w, 2, 64)),
    "gptq-w3g128": ("gptq", lambda w: quantize_affine(w, 3, 128)),
    "gptq-w8-channel": ("gptq", lambda w: quantize_affine(w, 8, -1)),
    "gptq-w4g128-asym": ("gptq", lambda w: quantize_affine(w, 4, 128, False)),
    "gptq_v2-w4g64": ("gptq_v2", lambda w: quantize_affine(w, 4, 64)),
    "gptq-w4g64-act": ("gptq", reordered),
    "awq-w4g128": ("awq", lambda w: quantize_affine(w, 4, 128, False)),
    "ct-w4g128": ("compressed-tensors", lambda w: quantize_affine(w, 4, 128)),
    "ct-w4g32-asym": ("compressed-tensors", lambda w: quantize_affine(w, 4, 32, False)),
    "ct-w3g128-asym": ("compressed-tensors", lambda w: quantize_affine(w, 3, 128, False)),
    "ct-w5-channel": ("compressed-tensors", lambda w: quantize_affine(w, 5, -1)),
    "ct-w8a8": ("compressed-tensors", w8a8_int8.quantize_layer),
    "ct-fp8": ("compressed-tensors", quantize_fp8),
    "ct-fp8-tensor": ("compressed-tensors", lambda w: quantize_fp8(w, "tensor")),
    "ct-fp8-block": ("compressed-tensors", lambda w: quantize_fp8(w, "block")),
    "ct-fp8-static": ("compressed-tensors", static),
    "ct-mxfp4": ("compressed-tensors", quantize_mxfp4),
    "ct-nvfp4": ("compressed-tensors", quantize_nvfp4),
    "bnb-nf4": ("bitsandbytes", quantize_codebook),
    "bnb-nf4-single": ("bitsandbytes", lambda w: quantize_codebook(w, double_quantization=False)),
    "bnb-fp4": ("bitsandbytes", lambda w: quantize_codebook(w, 128, "fp4")),
    "bnb-int8": ("bitsandbytes", llm_int8.quantize_layer),
}
"""Name -> file format and how one weight is quantized for it."""


@pytest.fixture(scope="session")
def small(small_folders: dict[str, Path]) -> Callable[[str], tuple[Any, Any]]:
    """Return a function that loads a small model and its tokenizer once; tests must not change them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    @cache
    def load(name: str) -> tuple[Any, Any]:
        folder = small_folders[name]
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        return model.requires_grad_(False), AutoTokenizer.from_pretrained(folder)

    return load


@pytest.fixture(scope="session")
def layers_of(small: Callable) -> Callable[[str, str], dict[str, QuantizedWeight]]:
    """Return a function from model name and kind to the model's quantized linears."""
    from qcourse.models import linears

    @cache
    def quantized(name: str, kind: str) -> dict[str, QuantizedWeight]:
        torch.manual_seed(0)
        return {key: KINDS[kind][1](linear.weight) for key, linear in linears(small(name)[0]).items()}

    return quantized
