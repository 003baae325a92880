"""Quantizing a checkpoint larger than memory: one decoder layer at a time, each finished layer on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from qcourse.calibrate import CalibrationStep, LayerStep, tokens_hash, walk
from qcourse.common import QCourseError
from qcourse.common.checkpoint_files import checkpoint_files
from qcourse.models import decoder_layers, linears
from qcourse.models.bfloat16_copy import bfloat16_folder
from qcourse.models.mapped import mapped_model, place
from qcourse.models.memory import give_memory_back
from qcourse.quantize.checks import check_model, check_recipe, check_tokens
from qcourse.quantize.memory import check_memory
from qcourse.quantize.progress import Progress, StoredLayers
from qcourse.quantize.quantize import quantize_step
from qcourse.quantize.result import QuantizedModel, start_manifest
from qcourse.recipe import Recipe


@torch.no_grad()
def quantize_folder(
    folder: Path | str,
    recipe: Recipe,
    tokens: Tensor | None = None,
    work: Path | str = "build/stream",
    resume: bool = True,
    progress: bool = True,
    all_experts: bool = False,
) -> QuantizedModel:
    """Quantize the model in `folder` with one decoder layer in memory, and return it with its codes on disk.

    work: folder for finished layers and hidden states, and for a copy in bfloat16 of a model that is not;
    when it holds an unfinished run of the same model, recipe and tokens, that run goes on after its last
    finished layer and ends with the same codes.
    The result's layers are read from `work` when asked for, and its model's weights stay in their files:
    linears hold the original weights, norms and biases what a transform made of them, as exporters expect.
    Raises QCourseError as `quantize` does, for rotation, and for a work folder of another run.
    """
    folder, work = Path(folder), Path(work)
    give_memory_back()
    check_streamable(folder, recipe, tokens)
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    state = Progress(work, run_identity(folder, recipe, tokens, all_experts))
    model = mapped_model(bfloat16_folder(folder, work / "bfloat16"))
    result = QuantizedModel(model, recipe, manifest=start_manifest(model, recipe, tokens))
    total = len(decoder_layers(model))
    with tqdm(total=total, desc=recipe.name, disable=not progress, unit="layer") as bar:
        for step in remaining_steps(model, recipe, tokens, state, bar, all_experts):
            finish_step(step, result, state)
            bar.update()
    restore_dense(model, state, total)
    result.layers = StoredLayers(state, list(linears(model)))
    result.manifest |= state.merged_manifest(total)
    return result


def check_streamable(folder: Path, recipe: Recipe, tokens: Tensor | None) -> None:
    """Raise QCourseError for what cannot be streamed, before anything is written."""
    if recipe.transform == "rotation" or recipe.method == "bf16":
        raise QCourseError(
            f"{recipe.name} does not go layer by layer; quantize it in memory, without --stream"
        )
    model = mapped_model(folder)
    check_model(model)
    check_recipe(model, recipe)
    check_tokens(model, recipe, tokens)
    check_memory(model, recipe, tokens, streaming=True)


def run_identity(folder: Path, recipe: Recipe, tokens: Tensor | None, all_experts: bool) -> dict:
    """Return what tells one run from another: sizes and dates of the weights, recipe, calibration tokens."""
    files = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in checkpoint_files(folder)}
    calibration = tokens_hash(tokens) if tokens is not None and recipe.needs_calibration else None
    return {
        "folder": str(folder.resolve()),
        "files": files,
        "recipe": recipe.hash,
        "calibration": calibration,
        "all_experts": all_experts,
    }


def remaining_steps(
    model, recipe: Recipe, tokens: Tensor | None, state: Progress, bar: tqdm, all_experts: bool
):
    """Yield the decoder layers not yet finished, with their inputs from the last run where it left them."""
    if not recipe.needs_calibration:
        start = bar.n = state.finished()
        yield from (LayerStep(index, layer) for index, layer in enumerate(decoder_layers(model))
                    if index >= start)  # fmt: skip
        return
    start, hidden = state.hidden()
    bar.n = start
    yield from walk(model, tokens, start, hidden, recipe.variant == "gptaq", all_experts)


def finish_step(step: LayerStep, result: QuantizedModel, state: Progress) -> None:
    """Quantize one layer, write it, and forget the codes; the layer stays until its outputs are computed.

    The layer before is put back to its mapped file: that frees its dequantized weights.
    """
    if isinstance(step, CalibrationStep):
        state.save_hidden(step.index, step.hidden + step.target)
    if step.index:
        unload(result.model, step.index - 1, state)
    originals = {name: module.weight.data for name, module in step.linears().items()}
    quantize_step(step, result)
    linear_weights = {f"{name}.weight" for name in originals}
    dense = {name: value for name, value in step.layer.state_dict().items() if name not in linear_weights}
    state.save_layer(step.index, result, dense)
    result.layers = {}
    state.originals = originals


def unload(model, index: int, state: Progress) -> None:
    """Give a layer's linears their original, mapped weights back."""
    for name, weight in state.originals.items():
        place(decoder_layers(model)[index], f"{name}.weight", weight)
    state.originals = {}


def restore_dense(model, state: Progress, total: int) -> None:
    """Put the norms and biases that each layer ended with into the mapped model, and its linears back."""
    unload(model, total - 1, state)
    for index in range(total):
        for name, value in state.dense(index).items():
            place(decoder_layers(model)[index], name, value)
