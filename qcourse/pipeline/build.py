"""Model + recipe + calibration -> artefact + record: the one place where artefacts are built."""

import copy
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from qcourse.common import content_hash, replace_folder
from qcourse.pipeline.calibration import Calibration
from qcourse.pipeline.checks import check_experts, check_options, checked
from qcourse.recipe import Recipe, named

MEASURED = 8  # calibration windows that a bit budget's sensitivities are measured on


def build(model: Any, recipe: Recipe, form: str, output: Path, *, revision: str | None = None,
          calibration: Calibration | None = None, stream: bool = False, bit_budget: float | None = None,
          kv_cache_dtype: str | None = None, progress: bool = True,
          allow_fallback: bool = False) -> Path:  # fmt: skip
    """Write the artefact of a recipe, with its record, and return its path; QCourseError says what cannot be.

    model: pico, a folder or a hub id, or a LoadedModel, which stays as it is. calibration: None for the
    course's prose, and for GGUF no importance matrix. stream: one decoder layer in memory at a time; finished
    layers wait beside `output`, so that the same call goes on where it was interrupted. bit_budget: choose
    each layer's width by its measured sensitivity, within this average of stored bits a weight.
    kv_cache_dtype: "fp8" to store the scales of keys and values that the quantized model gives on the text.
    allow_fallback: let llama.cpp take another type where a GGUF type's blocks do not fill the rows.
    """
    from qcourse import models

    by_name = isinstance(model, (str, Path))
    folder = models.resolve(model, revision) if by_name else model.folder
    recipe = checked(folder, recipe, form, allow_fallback)
    check_experts(folder, calibration)
    check_options(recipe, form, calibration, stream, bit_budget, kv_cache_dtype)
    text = calibration or Calibration()
    if stream:
        name = model if by_name else model.name
        return build_streamed(folder, name, recipe, form, output, revision, text)
    base = models.load(model, revision=revision) if by_name else (
        replace(model, model=copy.deepcopy(model.model)))  # fmt: skip
    source = source_facts(base.name, base.hash, revision)
    if form == "gguf":
        return build_gguf(base.model, base.tokenizer, recipe, output, source, calibration, allow_fallback)
    return build_folder(base, recipe, form, output, source, text, bit_budget, kv_cache_dtype, progress)


def build_folder(base: Any, recipe: Recipe, form: str, output: Path, source: dict[str, Any],
                 text: Calibration, bit_budget: float | None, kv_cache_dtype: str | None,
                 progress: bool) -> Path:  # fmt: skip
    """Quantize the LoadedModel `base` in place and write the checkpoint folder, as `build` says."""
    from qcourse.calibrate import kv_ranges, tokens_hash
    from qcourse.export import add_kv_scales
    from qcourse.quantize import mixed_recipe, sensitivities

    wanted = recipe.needs_calibration or bit_budget is not None or kv_cache_dtype is not None
    tokens: Any = text.tokens(base.tokenizer) if wanted else None
    if bit_budget is not None:
        measured = sensitivities(base.model, recipe, tokens[:MEASURED])
        recipe = mixed_recipe(recipe, measured, bit_budget)
    made = quantized(base, recipe, tokens, progress, text.all_experts)
    facts = {"source": source} | ({"calibration": text.facts(tokens)} if wanted else {})
    written = write(made, base.tokenizer, output, form, facts)
    if kv_cache_dtype is None:
        return written
    return add_kv_scales(written, kv_ranges(made.model, tokens), tokens_hash(tokens))


def quantized(base: Any, recipe: Recipe | str, tokens: Any = None, progress: bool = False,
              all_experts: bool = False) -> Any:  # fmt: skip
    """Quantize the LoadedModel `base` in place by a recipe or its name; return quantize's QuantizedModel.

    tokens: calibration windows for a recipe that needs them, int64 [sequences, length]; default the course's.
    all_experts: as in `quantize`.
    """
    from qcourse.quantize import quantize

    recipe = named(recipe) if isinstance(recipe, str) else recipe
    if not recipe.needs_calibration:
        return quantize(base.model, recipe, None, progress)
    tokens = Calibration().tokens(base.tokenizer) if tokens is None else tokens
    return quantize(base.model, recipe, tokens, progress, all_experts)


def build_streamed(folder: Path, name: str | Path, recipe: Recipe, form: str, output: Path,
                   revision: str | None, text: Calibration) -> Path:  # fmt: skip
    """Quantize a checkpoint layer by layer from its files and write the artefact.

    Layers and the artefact are made in one work folder beside `output`: killed at any moment, the same
    call goes on there, and what it leaves in the end is the artefact alone.
    """
    from qcourse.models.load import load_tokenizer
    from qcourse.quantize import quantize_folder

    tokenizer = load_tokenizer(folder)
    tokens = text.tokens(tokenizer) if recipe.needs_calibration else None
    work = output.parent / f".{output.name}.layers"
    made = quantize_folder(folder, recipe, tokens, work, all_experts=text.all_experts)
    facts = {"source": source_facts(name, content_hash(folder), revision)}
    facts |= {"calibration": text.facts(tokens)} if tokens is not None else {}
    replace_folder(write(made, tokenizer, work / "artefact", form, facts), output)
    shutil.rmtree(work, ignore_errors=True)
    return output


def write(made: Any, tokenizer: Any, output: Path, form: str, facts: dict[str, Any]) -> Path:
    """Write a quantized model as a checkpoint folder; facts: what its record says beside the manifest."""
    from qcourse.export import save
    from qcourse.quantize.coverage import coverage, expert_tokens

    if said := coverage(expert_tokens(made.manifest["layers"])):
        print(said, file=sys.stderr)
    return save(made.layers, made.model, tokenizer, output, form, made.recipe, {**made.manifest, **facts})


def source_facts(name: str | Path, model_hash: str, revision: str | None = None) -> dict[str, Any]:
    """Return what a record says of the source model, without this machine's folders."""
    from qcourse.models import public_name

    return {"model": public_name(name), "hash": model_hash, "revision": revision}


def build_gguf(module: Any, tokenizer: Any, recipe: Recipe, output: Path, source: dict[str, Any],
               calibration: Calibration | None, allow_fallback: bool) -> Path:  # fmt: skip
    """Write a GGUF by llama.cpp's quantizer; with a calibration text, with our importance matrix."""
    from qcourse.calibrate import importance_matrix
    from qcourse.export import gguf
    from qcourse.models import check_finite

    check_finite(module)
    facts, matrix = {"source": source}, None
    if calibration is not None:
        tokens = calibration.tokens(tokenizer)
        facts["calibration"] = calibration.facts(tokens)
        matrix = importance_matrix(module, tokens, calibration.all_experts)
    if recipe.variant in ("BF16", "F16"):
        return gguf.write(module, tokenizer, output, recipe, facts)
    with tempfile.TemporaryDirectory() as folder:
        dense = gguf.write(module, tokenizer, Path(folder) / "dense.gguf")
        return gguf.quantize(dense, output, recipe.variant, matrix, recipe=recipe, manifest=facts,
                             allow_fallback=allow_fallback)  # fmt: skip
