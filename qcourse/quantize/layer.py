"""One decoder layer: its transform, then the codes of its linears, those that share an input together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.calibrate import InputStatistics, bf16_products
from qcourse.common import QCourseError
from qcourse.models import fused_groups
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.fp8 import LARGEST
from qcourse.quantize.record import record_of
from qcourse.recipe import METHODS, Recipe
from qcourse.transforms import awq, smoothquant
from qcourse.transforms.clip import clip

Statistics = list[InputStatistics] | None


def transform_layer(layer: nn.Module, recipe: Recipe, prefix: str, statistics: Statistics) -> dict[str, Any]:
    """Apply the recipe's layer-wise transform in place; return its record ({} for none)."""
    if recipe.transform == "awq" and recipe.variant != "noscale":
        grids = {item: recipe.for_layer(prefix + item) for shared in statistics for item in shared.names}
        with bf16_products():  # exact enough to rank scales by
            return awq.transform(layer, statistics, grids)
    if recipe.transform == "smoothquant":
        return smoothquant.transform(layer, statistics, recipe.alpha)
    return {}


def quantize_layer(
    modules: dict[str, nn.Linear], recipe: Recipe, prefix: str, statistics: Statistics
) -> Iterator[tuple[str, QuantizedWeight, dict[str, Any]]]:
    """Yield name, codes and manifest record of each linear that the recipe quantizes.

    Linears with the same input and the same settings are stacked and quantized as one: rows never
    influence each other, so the codes are the same and the Hessian is factorized once. NVFP4's
    tensor-wide scale becomes the same for all of them, which engines that fuse q, k, v and gate, up need.
    """
    for names, item in shared(modules, statistics):
        settings: dict[str, tuple[Recipe, list[str]]] = {}
        for name in names:
            if chosen := recipe.for_layer(prefix + name):
                settings.setdefault(chosen.hash, (chosen, []))[1].append(name)
        for chosen, members in settings.values():
            for batch in [members] if METHODS[chosen.method].together else [[name] for name in members]:
                yield from quantize_together(modules, batch, chosen, prefix, item)


def shared(
    modules: dict[str, nn.Linear], statistics: Statistics
) -> Iterator[tuple[list[str], InputStatistics | None]]:
    """Yield the names of linears that share an input, with their statistics; without any, by name."""
    if statistics is None:
        yield from ((names, None) for names in fused_groups(modules))
        return
    yield from ((item.names, item) for item in statistics)


def quantize_together(
    modules: dict[str, nn.Linear], names: list[str], recipe: Recipe, prefix: str, item: InputStatistics | None
) -> Iterator[tuple[str, QuantizedWeight, dict[str, Any]]]:
    """Quantize the stacked weights of `names` by one recipe and hand out each one's rows."""
    weights = [modules[name].weight.detach() for name in names]
    hessian, drift = (None, None) if item is None else (item.hessian, item.mean_drift)
    try:
        whole = codes_of(torch.cat(weights) if len(weights) > 1 else weights[0], recipe, hessian, drift)
    except ValueError as error:
        raise QCourseError(f"{prefix}{names[0]}: {error}") from error
    if recipe.activations == "static" and item is not None:
        check_range(prefix + names[0], item)
        whole.input_scale = static_scale(recipe, item)
    start = 0
    for name, weight in zip(names, weights, strict=True):
        rows = slice(start, start + weight.shape[0])
        start += weight.shape[0]
        part = whole if len(names) == 1 else rows_of(whole, rows)
        yield name, part, record_of(part, weight, recipe, hessian, item)


def codes_of(
    weight: Tensor, recipe: Recipe, hessian: Tensor | None, drift: Tensor | None = None
) -> QuantizedWeight:
    """Return the codes of one weight [out, in]: by the method's page, which is given what it asks for."""
    method = METHODS[recipe.method]
    grid = {"bits": recipe.bits, "group_size": recipe.group_size, "symmetric": recipe.symmetric}
    if (recipe.transform, recipe.method) == ("awq", "rtn"):
        if recipe.variant != "noclip":
            with bf16_products():
                weight = clip(weight, hessian, **grid)
        hessian = None  # the ranges are chosen; rounding itself is plain
    if recipe.variant == "nofeedback":
        hessian = hessian.diag().diag()  # off the diagonal stands what is fed back
    left_out = {"search": False} if recipe.variant == "nosearch" else {}
    known = grid | left_out | {
        "hessian": hessian,
        "drift": drift,
        "damping": recipe.damping,
        "act_order": "full" if recipe.desc_act else recipe.act_order,
        "double_quantization": recipe.variant != "single",
        "threshold": float(recipe.threshold),
    } | method.settings  # fmt: skip
    quantize = import_module(f"qcourse.methods.{method.page}").quantize_layer
    asked = signature(quantize).parameters
    return quantize(weight, **{name: value for name, value in known.items() if name in asked})


def check_range(name: str, item: InputStatistics) -> None:
    """Raise QCourseError for a linear that no calibration token reached: a fixed scale needs a range."""
    if not item.n_tokens:
        raise QCourseError(
            f"no calibration token reached {name}, whose inputs need a fixed scale; calibrate on more text, "
            "send every token to every expert (--calibrate-all-experts), or take dynamic scales"
        )


def static_scale(recipe: Recipe, item: InputStatistics) -> Tensor:
    """Return the fixed input scale, float32 0-dim: the largest magnitude seen meets the largest code."""
    largest = LARGEST[torch.float8_e4m3fn] if recipe.method == "fp8-static" else 127.0
    return item.absmax.amax().clamp(min=1e-8) / largest


def rows_of(whole: QuantizedWeight, rows: slice) -> QuantizedWeight:
    """Return some rows of a quantized weight, in memory of their own; g_idx is shared."""
    tall = {name: getattr(whole, name) for name in ("codes", "scale", "zero_point")}
    copies = {name: value[rows].clone() for name, value in tall.items() if value is not None}
    if whole.global_scale is not None:
        copies["global_scale"] = whole.global_scale.clone()
    return replace(whole, **copies)
