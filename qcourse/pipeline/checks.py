"""What is asked of a recipe and a model before any weight is read."""

import math
import sys
from dataclasses import replace
from pathlib import Path

from qcourse.common import QCourseError, read_config
from qcourse.common.layouts import layout
from qcourse.common.mixtures import is_mixture
from qcourse.pipeline.calibration import Calibration
from qcourse.recipe import Recipe, fit


def checked(folder: Path, recipe: Recipe, form: str, allow_fallback: bool = False) -> Recipe:
    """Return the recipe with its group size; QCourseError for what config.json alone rules out.

    A group size that nobody named is chosen here, and said once.
    """
    from qcourse import models
    from qcourse.export import check_format
    from qcourse.quantize.checks import check_recipe, check_unquantized, say_unscaled

    check_unquantized(read_config(folder).get("quantization_config"))
    model = models.skeleton(folder)
    layout(model.config)
    if form == "gguf":
        return recipe if allow_fallback else fit(recipe, models.widths(model))
    fitted = fit(recipe, models.widths(model))
    if fitted.group_size != recipe.group_size:
        print(f"groups of {fitted.group_size}, the largest of 128, 64, 32 that fits: {fitted.name}"
              if (fitted.group_size or 0) > 0 else f"no usual group fits, one scale a row: {fitted.name}",
              file=sys.stderr)  # fmt: skip
    check_recipe(model, fitted)
    if fitted.transform == "awq":
        say_unscaled(model)
    if form in ("gptq", "awq", "compressed-tensors"):
        fitted = with_fused_parts(fitted, list(models.linears(model)))
    grids = {
        name: (module.weight.shape, fitted.for_layer(name)) for name, module in models.linears(model).items()
    }
    check_format(grids, form)
    return fitted


def with_fused_parts(recipe: Recipe, names: list[str]) -> Recipe:
    """Keep, with a linear that stays in 16 bits, those that engines store in one matrix with it; said once.

    names: of all linears. vLLM refuses a checkpoint that has only some of q, k, v or of gate, up quantized.
    """
    from qcourse.models import fused_groups

    kept = {name for name in names if recipe.for_layer(name) is None}
    more = {name for group in fused_groups(names) if kept & set(group) for name in group} - kept
    if not more:
        return recipe
    leaves = sorted({name.rpartition(".")[2] for name in more})
    whole = [leaf for leaf in leaves if {n for n in names if n.endswith(f".{leaf}")} <= more | kept]
    patterns = [*whole, *sorted(name for name in more if name.rpartition(".")[2] not in whole)]
    print(f"engines store {', '.join(leaves)} in one matrix with a linear that is kept: kept in 16 bits too",
          file=sys.stderr)  # fmt: skip
    return replace(recipe, overrides=recipe.overrides | {name: {"bits": 16} for name in patterns})


def check_experts(folder: Path, calibration: Calibration | None) -> None:
    """Raise QCourseError where all experts are to be calibrated and the model has none."""
    kind = read_config(folder).get("model_type")
    if calibration is not None and calibration.all_experts and not is_mixture(kind):
        raise QCourseError(
            f"--calibrate-all-experts is for mixtures of experts, and {kind} is dense; leave it out"
        )


def check_options(recipe: Recipe, form: str, calibration: Calibration | None, stream: bool,
                  bit_budget: float | None, kv_cache_dtype: str | None) -> None:  # fmt: skip
    """Raise QCourseError for options that contradict each other, before any weight is read."""
    if stream and bit_budget is not None:
        raise QCourseError(
            "a bit budget measures the whole model, and --stream holds one layer: leave one out"
        )
    if bit_budget is not None and not math.isfinite(bit_budget):
        raise QCourseError(f"a bit budget is a number of bits a weight such as 4.25, not {bit_budget}")
    check_kv_cache(kv_cache_dtype, form, stream)
    wanted = recipe.needs_calibration or form == "gguf" or bit_budget is not None or kv_cache_dtype
    if calibration is not None and not wanted:
        given = "--calibrate-all-experts" if calibration.all_experts else "--calibration"
        raise QCourseError(f"{recipe.name} takes no calibration text; leave {given} out")
    if stream and form == "gguf":
        raise QCourseError(
            "--stream is for checkpoints; llama.cpp's own quantizer streams GGUF files by itself"
        )


def check_kv_cache(kv_cache_dtype: str | None, form: str, stream: bool) -> None:
    """Raise QCourseError for a KV cache whose scales the artefact cannot hold."""
    if kv_cache_dtype is None:
        return
    if kv_cache_dtype != "fp8":
        raise QCourseError(f"scales are stored for a KV cache in fp8, not in {kv_cache_dtype!r}")
    if form not in ("compressed-tensors", "merged"):
        raise QCourseError(
            f"{form} files hold no scales of a KV cache; use --format compressed-tensors, or merged"
        )
    if stream:
        raise QCourseError("scales of a KV cache are calibrated on the whole model: leave --stream out")
