"""`quantize(model, recipe, tokens)`: the one entry point."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from tqdm import tqdm

from qcourse.calibrate import CalibrationStep, InputStatistics, LayerStep, walk
from qcourse.models import decoder_layers, widths
from qcourse.models.products import widen
from qcourse.quantize.checks import check_model, check_recipe, check_tokens
from qcourse.quantize.layer import quantize_layer, transform_layer
from qcourse.quantize.memory import check_memory
from qcourse.quantize.result import QuantizedModel, start_manifest
from qcourse.quantize.simulate import install
from qcourse.recipe import METHODS, Recipe, fit
from qcourse.transforms import rotation

LAYERWISE = ("awq", "smoothquant")  # transforms of one decoder layer; rotation is one of the whole model


@torch.no_grad()
def quantize(
    model: nn.Module, recipe: Recipe, tokens: Tensor | None = None, progress: bool = True,
    all_experts: bool = False
) -> QuantizedModel:  # fmt: skip
    """Carry out `recipe` on `model` in place and return it with codes and manifest.

    tokens: calibration token ids [n_sequences, seq_len], needed by GPTQ, AWQ, SmoothQuant and static
    activations; each layer is calibrated on what the layers before it give once quantized (AWQ with plain
    rounding: before, see `only_weighs`). all_experts: calibrate every expert of a mixture on every token, not
    only on those that its router sends there.
    The same model, recipe, tokens, machine and versions give the same codes.
    Raises QCourseError for an unsupported or already quantized model, values not finite, group sizes that do
    not divide, missing calibration, and for work that does not fit in memory, with the numbers.
    """
    widen(check_model(model))
    recipe = fit(recipe, widths(model)) if recipe.method != "gguf" else recipe
    check_recipe(model, recipe)
    check_tokens(model, recipe, tokens)
    check_memory(model, recipe, tokens)
    started = time.perf_counter()
    result = QuantizedModel(model, recipe, manifest=start_manifest(model, recipe, tokens))
    if recipe.method == "bf16" and recipe.transform is None:
        return result
    if recipe.transform == "rotation":
        rotation.rotate(model)
    for step in tqdm(
        steps(model, recipe, tokens, all_experts),
        total=len(decoder_layers(model)),
        desc=recipe.name,
        disable=not progress,
        unit="layer",
    ):
        quantize_step(step, result)
    model.qcourse_recipe = recipe.name
    result.manifest["seconds"] = round(time.perf_counter() - started, 3)
    return result


def steps(model: nn.Module, recipe: Recipe, tokens: Tensor | None, all_experts: bool):
    """Yield the decoder layers, with calibration inputs when the recipe needs them."""
    if recipe.needs_calibration:
        yield from walk(model, tokens, with_target=recipe.variant == "gptaq", all_experts=all_experts)
    else:
        yield from (LayerStep(index, layer) for index, layer in enumerate(decoder_layers(model)))


def quantize_step(step: LayerStep, result: QuantizedModel) -> None:
    """Transform and quantize one decoder layer in place; add its codes and its record to the result.

    Without a layer-wise transform each set of linears is quantized as soon as its input is known, so that
    later linears are calibrated on what the earlier ones give once quantized. A transform changes linears
    across such sets and so needs the statistics of the whole layer first.
    """
    recipe, prefix = result.recipe, f"model.layers.{step.index}."
    if not isinstance(step, CalibrationStep):
        install_codes(step.linears(), None, prefix, result)
    elif recipe.transform in LAYERWISE:
        dtype = next(iter(step.linears().values())).weight.dtype
        look = step.stages if only_weighs(recipe) else step.collect
        statistics = list(look(gram=needs_gram(recipe)))
        step.cast(torch.float32)  # scales would be rounded twice if they passed through 16 bits
        record = transform_layer(step.layer, recipe, prefix, statistics)
        result.manifest["transforms"][prefix.rstrip(".")] = record
        install_codes(step.linears(), statistics, prefix, result)
        step.cast(dtype)
    else:
        linears = step.linears()
        for item in step.stages(needs_gram(recipe), magnitudes=not METHODS[recipe.method].calibrated):
            install_codes({name: linears[name] for name in item.names}, [item], prefix, result)
            del item  # a Hessian is not kept while the next input is computed


def install_codes(
    modules: dict[str, nn.Linear],
    statistics: list[InputStatistics] | None,
    prefix: str,
    result: QuantizedModel,
) -> None:
    """Quantize linears of one decoder layer in place; add codes and records, or the names that are kept."""
    for name, layer, note in quantize_layer(modules, result.recipe, prefix, statistics):
        install(modules[name], layer, result.recipe)
        result.layers[prefix + name] = layer
        result.manifest["layers"][prefix + name] = note
    result.manifest["kept"] += [prefix + name for name in modules if prefix + name not in result.layers]


def needs_gram(recipe: Recipe) -> bool:
    """Return whether the recipe needs x x^T of a layer's inputs."""
    return METHODS[recipe.method].calibrated or recipe.transform == "awq"


def only_weighs(recipe: Recipe) -> bool:
    """Return whether calibration only weighs columns against each other: AWQ before plain rounding.

    Then the inputs of unquantized layers do as well (pico, 64 x 512: KL 0.120 against 0.119 at 4 bits, 0.370
    against 0.373 at 3), and each layer runs once instead of twice.
    """
    return recipe.transform == "awq" and recipe.method == "rtn"
