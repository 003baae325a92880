"""What must hold before the first layer is touched."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.models import check_architecture, check_finite, linears
from qcourse.numerics import valid_group_sizes
from qcourse.numerics.codebook import BLOCK_SIZES
from qcourse.recipe import Recipe, matches

FIXED = ("mxfp4", "nvfp4", "fp8-block")  # engines take inputs in whole groups of one size
GROUPED = ("rtn", "gptq", *FIXED)


def check_model(model: nn.Module) -> None:
    """Raise QCourseError for an unsupported, already quantized or damaged model."""
    check_architecture(model.config)
    ours = getattr(model, "qcourse_recipe", None)
    check_unquantized(ours or getattr(model.config, "quantization_config", None))
    check_finite(model)


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
    found = linears(model)
    for pattern in recipe.overrides:
        if not any(matches(name, pattern) for name in found):
            first = next(iter(found))
            raise QCourseError(f"override {pattern!r} matches no linear of the model; one is {first}")
    if bad := misfits(recipe, {name: module.in_features for name, module in found.items()}):
        raise QCourseError(group_sentence(recipe, bad))
    if recipe.method == "nf4" and recipe.group_size not in BLOCK_SIZES:
        raise QCourseError(
            f"NF4 blocks hold {', '.join(map(str, BLOCK_SIZES))} weights, not {recipe.group_size}"
        )


def recipe_fits(recipe: Recipe, columns: dict[str, int]) -> bool:
    """Return whether the recipe's groups fill the rows of every linear it touches.

    columns: full name of a linear -> its input features, which a config or a file's header gives as well.
    """
    return not misfits(recipe, columns)


def misfits(recipe: Recipe, columns: dict[str, int]) -> dict[int, list[str]]:
    """Return width -> names of the linears whose rows the recipe's groups do not fill."""
    bad: dict[int, list[str]] = {}
    for name, width in columns.items():
        chosen = recipe.for_layer(name)
        if chosen is not None and not divides(chosen, width):
            bad.setdefault(width, []).append(name)
    return bad


def divides(recipe: Recipe, columns: int) -> bool:
    """Return whether the recipe's groups fill rows of `columns` weights."""
    return recipe.method not in GROUPED or recipe.group_size == -1 or columns % recipe.group_size == 0


def group_sentence(recipe: Recipe, bad: dict[int, list[str]]) -> str:
    """Say which widths the group size does not divide, and which sizes would work for all of those."""
    widths = ", ".join(f"{columns} columns ({names[0]})" for columns, names in sorted(bad.items()))
    usable = [size for size in valid_group_sizes(math.gcd(*bad)) if size <= 1024][:6]
    if recipe.method in FIXED:
        fix = f"{recipe.method} has groups of {recipe.group_size} only: keep those layers with an override"
    else:
        fix = f"these divide: {', '.join(map(str, usable)) or 'none'}, or -1 for one scale a row"
    return f"group size {recipe.group_size} does not divide {widths}; {fix}"


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
