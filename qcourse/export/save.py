"""From quantized layers to a checkpoint folder, in any of the formats."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.common.tensor_writer import Part
from qcourse.export import awq, bitsandbytes, compressed_tensors, gptq
from qcourse.export.folder import dense_tensors, write_folder
from qcourse.numerics import QuantizedWeight
from qcourse.recipe import Recipe
from qcourse.recipe.record import new_record
from qcourse.recipe.vocabulary import FOLDER_FORMATS, INTEGER_METHODS

Encode = Callable[[QuantizedWeight], dict[str, Tensor]]


def save(
    quantized_layers: Mapping[str, QuantizedWeight],
    model: nn.Module,
    tokenizer: Any,
    folder: Path | str,
    format: str,
    recipe: Recipe | None = None,
    manifest: dict[str, Any] | None = None,
    dense: dict[str, Tensor] | None = None,
) -> Path:
    """Write a checkpoint folder with its recipe.json and return its path.

    quantized_layers: full name of a linear -> its weight; one at a time is asked for and encoded, so that
    layers on disk stay there. model: the transformers model that they belong to, for everything that is not
    quantized (biases, norms, embeddings) and for config.json; tokenizer: None to leave it out;
    dense: that everything by name, for a model without weights.
    format "gptq" writes v1 files, or v2 for asymmetric grids, which v1 cannot hold; "merged" writes dense
    weights. The same input gives the same bytes.
    Raises QCourseError for what the format cannot hold and for a full disk; nothing is left half-written.
    """
    if format not in FOLDER_FORMATS:
        raise QCourseError(f"unknown format {format!r}; known are {', '.join(FOLDER_FORMATS)}")
    encode, quantization = _encoder(quantized_layers, model, format)
    kept = dense_tensors(model, set(quantized_layers)) if dense is None else dense
    parts: list[Part] = [lambda: kept]
    parts += [partial(_tensors, quantized_layers, name, encode) for name in quantized_layers]
    record = new_record(recipe, format, manifest or {})
    return write_folder(folder, parts, model, tokenizer, quantization, record)


def check_format(grids: Mapping[str, tuple[Sequence[int], Recipe | None]], format: str) -> None:
    """Raise QCourseError, before anything is quantized, for integer layers that a format cannot hold.

    grids: name of a linear -> its shape [out, in] and its recipe, None where it is kept.
    """
    if format not in ("gptq", "awq", "compressed-tensors"):
        return
    layers = {name: _outline(shape, recipe) for name, (shape, recipe) in grids.items()
              if recipe is not None and recipe.method in INTEGER_METHODS}  # fmt: skip
    if layers and format == "gptq":
        gptq.check(layers, 2)
    elif layers:
        (awq if format == "awq" else compressed_tensors).check(layers)


def _outline(shape: Sequence[int], recipe: Recipe) -> QuantizedWeight:
    """Return a layer of a recipe's grid that has a shape and no codes."""
    codes = torch.empty(tuple(shape), dtype=torch.uint8, device="meta")
    order = codes[0] if recipe.desc_act else None
    grid = {"bits": recipe.bits, "group_size": recipe.group_size, "symmetric": recipe.symmetric}
    return QuantizedWeight(codes, scale=codes, zero_point=codes, g_idx=order, **grid)


def _tensors(layers: Mapping[str, QuantizedWeight], name: str, encode: Encode) -> dict[str, Tensor]:
    """Return what a file holds of one linear."""
    return {f"{name}.{part}": tensor for part, tensor in encode(layers[name]).items()}


def _encoder(
    layers: Mapping[str, QuantizedWeight], model: nn.Module, format: str
) -> tuple[Encode, dict[str, Any] | None]:
    """Return what makes the tensors of a layer, and the quantization_config of the format."""
    if format == "merged":
        return lambda layer: {"weight": layer.dequantize_to(model.dtype)}, None
    if format in ("gptq", "gptq_v2"):
        symmetric = all(layer.symmetric for layer in layers.values())
        version = 1 if format == "gptq" and symmetric else 2
        gptq.check(layers, version)
        return partial(gptq.encode, version=version), gptq.configuration(layers, model, version)
    if format == "bitsandbytes":
        bitsandbytes.check(layers)
        return partial(bitsandbytes.encode, dtype=model.dtype), bitsandbytes.configuration(layers, model)
    module = awq if format == "awq" else compressed_tensors
    module.check(layers)
    return module.encode, module.configuration(layers, model)
