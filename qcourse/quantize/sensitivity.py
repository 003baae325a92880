"""Mixed precision: how much each part of a model minds few bits, and the widths that a budget buys.

A part is what engines store as one matrix (q, k and v; gate and up) and so has one width. Each is rounded
alone, by the recipe's own method, at every width; the rest of the model stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from qcourse.calibrate import CalibrationStep, walk
from qcourse.common import QCourseError
from qcourse.models import decoder_layers, fused_groups, logits_of
from qcourse.quantize.allocate import allocate
from qcourse.quantize.checks import check_model, check_recipe, check_tokens
from qcourse.quantize.layer import quantize_layer
from qcourse.recipe import Recipe

WIDTHS = (2, 3, 4, 8)


@dataclass(frozen=True)
class Sensitivity:
    """A part of the model: its linears by full name, the KL it alone causes and the bits it stores, by width.

    kl: nats a token, mean over the tokens measured; stored: scales and zero points included.
    """

    names: tuple[str, ...]
    weights: int
    kl: dict[int, float]
    stored: dict[int, int]


@torch.no_grad()
def sensitivities(
    model: nn.Module, recipe: Recipe, tokens: Tensor, widths: tuple[int, ...] = WIDTHS, progress: bool = True
) -> list[Sensitivity]:
    """Measure KL(model || model with one part rounded) for every part and width; the model ends unchanged.

    recipe: "rtn" or "gptq" without a transform; its bits are ignored. tokens: int64 [sequences, length],
    held in memory as logits. Raises QCourseError for another recipe, and as `quantize` does.
    """
    if recipe.method not in ("rtn", "gptq") or recipe.transform:
        raise QCourseError(
            f"{recipe.name} has one width; a bit budget needs a recipe such as gptq-w4g128 or rtn-w4g128"
        )
    check_model(model)
    check_recipe(model, recipe)
    check_tokens(model, recipe, tokens)
    total, found, reference = len(decoder_layers(model)), [], None
    for step in tqdm(
        walk(model, tokens), total=total, desc="sensitivity", disable=not progress, unit="layer"
    ):
        if reference is None:
            reference = [log_probabilities(model, step, batch) for batch in range(len(step.hidden))]
        found += parts_of_layer(model, step, recipe, widths, reference)
    return found


def parts_of_layer(
    model: nn.Module, step: CalibrationStep, recipe: Recipe, widths: tuple[int, ...], reference: list[Tensor]
) -> Iterator[Sensitivity]:
    """Yield the measured parts of one decoder layer that the recipe quantizes."""
    prefix, modules = f"model.layers.{step.index}.", step.linears()
    statistics = step.collect(gram=recipe.method == "gptq", magnitudes=False)
    rounded = {bits: {name: layer for name, layer, _ in quantize_layer(
        modules, with_width(recipe, bits), prefix, statistics)} for bits in widths}  # fmt: skip
    for names in fused_groups(rounded[widths[0]]):
        kl, stored = {}, {}
        for bits, layers in rounded.items():
            chosen = {name: layers[name] for name in names}
            kl[bits] = divergence_with(model, step, chosen, reference)
            stored[bits] = sum(round(item.bits_per_weight() * item.codes.numel()) for item in chosen.values())
        weights = sum(modules[name].weight.numel() for name in names)
        yield Sensitivity(tuple(prefix + name for name in names), weights, kl, stored)


def with_width(recipe: Recipe, bits: int) -> Recipe:
    """Return the recipe at one width everywhere; overrides keep their other settings."""
    overrides = {
        pattern: {key: value for key, value in changes.items() if key != "bits"}
        for pattern, changes in recipe.overrides.items()
    }
    return replace(recipe, bits=bits, overrides=overrides)


def divergence_with(model: nn.Module, step: CalibrationStep, layers: dict, reference: list[Tensor]) -> float:
    """Return mean KL in nats with some linears of one layer rounded; their weights are put back."""
    modules = step.linears()
    originals = {name: modules[name].weight.data for name in layers}
    try:
        for name, layer in layers.items():
            modules[name].weight.data = layer.dequantize().to(originals[name].dtype)
        total = sum(
            float((expected.exp() * (expected - log_probabilities(model, step, batch))).sum(-1).mean())
            * len(expected)
            for batch, expected in enumerate(reference)
        )
    finally:
        for name, weight in originals.items():
            modules[name].weight.data = weight
    return total / sum(len(expected) for expected in reference)


def log_probabilities(model: nn.Module, step: CalibrationStep, batch: int) -> Tensor:
    """Return float32 [tokens, V] of one batch, from the layer of `step` on."""
    hidden = step.hidden[batch]
    for layer, arguments in zip(decoder_layers(model)[step.index :], step.ahead, strict=True):
        result = layer(hidden, **arguments[batch])
        hidden = result[0] if isinstance(result, tuple) else result
    return torch.log_softmax(logits_of(model, model.model.norm(hidden)).flatten(0, 1), -1)


def mixed_recipe(recipe: Recipe, measured: list[Sensitivity], bits_per_weight: float) -> Recipe:
    """Return the recipe with the widths that lose least within an average of stored bits a weight.

    bits_per_weight: over the quantized linears, scales and zero points included: 3.125 buys 3 bits in
    groups of 128. Parts are supposed to add up; QCourseError when the smallest widths exceed the budget.
    """
    weights = sum(part.weights for part in measured)
    try:
        chosen = allocate([part.kl for part in measured], [part.stored for part in measured],
                          int(bits_per_weight * weights))  # fmt: skip
    except QCourseError:
        least = sum(min(part.stored.values()) for part in measured) / weights
        raise QCourseError(
            f"a budget of {bits_per_weight} bits a weight is below the least, {least:.4g} with scales; "
            "raise it, or take larger groups"
        ) from None
    usual = Counter(chosen).most_common(1)[0][0]
    changed = {name: {"bits": bits} for part, bits in zip(measured, chosen, strict=True) if bits != usual
               for name in part.names}  # fmt: skip
    base = with_width(recipe, usual)
    return replace(base, overrides=base.overrides | changed)
