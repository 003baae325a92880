"""What must hold of model, recipe and tokens before the first layer is touched."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.calibrate.stages import stages_of
from qcourse.common import QCourseError
from qcourse.common.layouts import layout
from qcourse.models import check_finite, widths
from qcourse.models.attention import settle_attention
from qcourse.models.experts import separate_experts
from qcourse.numerics.codebook import BLOCK_SIZES
from qcourse.recipe import Recipe, fit
from qcourse.transforms.fold import links
from qcourse.transforms.rotation import check_norms


def check_model(model: nn.Module) -> nn.Module:
    """Return the model, its experts separated; QCourseError for an unsupported, quantized or damaged one."""
    layout(model.config)
    settle_attention(model.config)
    separate_experts(model)
    ours = getattr(model, "qcourse_recipe", None)
    check_unquantized(ours or getattr(model.config, "quantization_config", None))
    check_finite(model)
    return model


def check_unquantized(stored: Any) -> None:
    """Raise QCourseError unless `stored` is None: a quantization_config, or the name of our recipe."""
    if stored is not None:
        table = {"quant_method": stored} if isinstance(stored, str) else stored
        table = table if isinstance(table, dict) else vars(table)
        how = table.get("quant_method", "how is not said")
        how = getattr(how, "value", how)
        raise QCourseError(f"the model is already quantized ({how}); start from the unquantized checkpoint")


def check_recipe(model: nn.Module, recipe: Recipe) -> None:
    """Raise QCourseError when the method is not ours to apply or a group size does not divide a linear."""
    if recipe.method == "gguf":
        raise QCourseError(
            f"{recipe.name} is written by llama.cpp's quantizer; use export.gguf.quantize or --format gguf"
        )
    if recipe.transform == "rotation":
        check_norms(model.config)
    if recipe.transform == "smoothquant" and not layout(model.config).norms[0]:
        raise QCourseError(
            f"{recipe.name} moves outliers into the norms before attention and MLP, and "
            f"{model.config.model_type} has none there; take w8a8-int8 without it, fp8-dynamic or gptq"
        )
    if layout(model.config).experts and (recipe.transform == "rotation" or recipe.variant == "gptaq"):
        raise QCourseError(
            f"{recipe.name} is not carried out on a mixture of experts ({model.config.model_type}), whose "
            f"router decides what experts read; take {'another transform' if recipe.transform else 'gptq'}"
        )
    fit(recipe, widths(model))
    if recipe.method == "nf4" and recipe.group_size not in BLOCK_SIZES:
        raise QCourseError(
            f"NF4 blocks hold {', '.join(map(str, BLOCK_SIZES))} weights, not {recipe.group_size}"
        )


def say_unscaled(model: nn.Module) -> None:
    """Say on stderr which linears AWQ gives no scales, because nothing before them can take them in."""
    layer = model.model.layers[0]
    scaled = {name for link in links(layer) for name in link.consumers}
    if left := [name for stage in stages_of(layer) for name in stage if name not in scaled]:
        leaves = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in left))
        print(f"AWQ finds neither norm nor gate before {leaves} of {model.config.model_type} to hold their "
              "scales: they are rounded without", file=sys.stderr)  # fmt: skip


def check_tokens(model: nn.Module, recipe: Recipe, tokens: Tensor | None) -> None:
    """Raise QCourseError when calibration is needed and missing, empty, misshapen or foreign to the model."""
    if tokens is None or tokens.numel() == 0:
        if recipe.needs_calibration:
            what = "missing" if tokens is None else "empty"
            raise QCourseError(
                f"{recipe.name} needs calibration tokens, which are {what}; "
                "make them with calibrate.batches(tokenizer, texts)"
            )
        return
    if tokens.dim() != 2 or tokens.dtype not in (torch.int64, torch.int32):
        raise QCourseError(
            f"calibration tokens must be integers [n_sequences, seq_len], not {tokens.dtype} "
            f"{list(tokens.shape)}"
        )
    vocabulary, largest = model.config.vocab_size, int(tokens.max())
    if largest >= vocabulary or int(tokens.min()) < 0:
        raise QCourseError(
            f"calibration token {largest} is outside the vocabulary of {vocabulary}; "
            "use the model's own tokenizer"
        )
