"""From MODEL and recipe to artefact: load, calibrate, quantize, export."""

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, content_hash, read_config, replace_folder
from qcourse.pipeline import kv_scales
from qcourse.recipe import Recipe

SAMPLES, SEQUENCE = 64, 512  # calibration windows and their tokens
MEASURED = 8  # of these windows, those that a bit budget's sensitivities are measured on


def build(model: str, recipe: Recipe, form: str, output: Path, revision: str | None = None,
          calibration: Path | None = None, stream: bool = False,
          bit_budget: float | None = None, kv_cache_dtype: str | None = None) -> Path:  # fmt: skip
    """Write the artefact of a recipe and return its path; QCourseError says what cannot be.

    stream: one decoder layer in memory at a time; finished layers wait beside `output`, so that the
    same command goes on where it was interrupted. bit_budget: choose the width of each layer by its
    measured sensitivity, within this average of stored bits a weight. kv_cache_dtype: "fp8" to store the
    scales of keys and values that the quantized model gives on the calibration text.
    """
    from qcourse import models
    from qcourse.models import resolve

    if stream and bit_budget is not None:
        raise QCourseError(
            "a bit budget measures the whole model, and --stream holds one layer: leave one out"
        )
    check_request(resolve(model, revision), recipe, form)
    kv_scales.check(kv_cache_dtype, form, stream)
    wanted = recipe.needs_calibration or form == "gguf" or bit_budget is not None or kv_cache_dtype
    if calibration is not None and not wanted:
        raise QCourseError(f"{recipe.name} takes no calibration text; leave --calibration out")
    if stream:
        return build_streamed(model, recipe, form, output, revision, calibration)
    source = models.load(model, revision=revision)
    if bit_budget is not None:
        recipe = mixed(source, recipe, calibration, bit_budget)
    if form == "gguf":
        return build_gguf(source, recipe, output, calibration)
    from qcourse.quantize import quantize

    needed = recipe.needs_calibration or kv_cache_dtype is not None
    tokens = calibration_tokens(source.tokenizer, calibration) if needed else None
    made = quantize(source.model, recipe, tokens if recipe.needs_calibration else None)
    about = origin(model, source.hash, revision)
    if kv_cache_dtype is None:
        return write(made, source.tokenizer, output, form, about, calibration)
    add_scales = kv_scales.calibrated(made.model, tokens)
    return add_scales(write(made, source.tokenizer, output, form, about, calibration))


def check_request(folder: Path, recipe: Recipe, form: str) -> None:
    """Raise QCourseError for what config.json alone rules out, before any weight is read."""
    from qcourse import models
    from qcourse.export import check_format
    from qcourse.quantize.checks import check_recipe, check_unquantized

    check_unquantized(read_config(folder).get("quantization_config"))
    model = models.skeleton(folder)
    models.check_architecture(model.config)
    if form != "gguf":
        check_recipe(model, recipe)
        grids = {name: (module.weight.shape, recipe.for_layer(name))
                 for name, module in models.linears(model).items()}  # fmt: skip
        check_format(grids, form)


def mixed(source: Any, recipe: Recipe, calibration: Path | None, bit_budget: float) -> Recipe:
    """Return the recipe with a width for each layer, measured on part of the calibration windows."""
    from qcourse.quantize import mixed_recipe, sensitivities

    if not math.isfinite(bit_budget):
        raise QCourseError(f"a bit budget is a number of bits a weight such as 4.25, not {bit_budget}")

    tokens = calibration_tokens(source.tokenizer, calibration)[:MEASURED]
    return mixed_recipe(recipe, sensitivities(source.model, recipe, tokens), bit_budget)


def build_streamed(model: str, recipe: Recipe, form: str, output: Path, revision: str | None,
                   calibration: Path | None) -> Path:  # fmt: skip
    """Quantize a checkpoint layer by layer from its files and write the artefact.

    Layers and the artefact are made in one work folder beside `output`: killed at any moment, the same
    command goes on there, and what it leaves in the end is the artefact alone.
    """
    from qcourse.models import resolve
    from qcourse.models.load import load_tokenizer
    from qcourse.quantize import quantize_folder

    if form == "gguf":
        raise QCourseError(
            "--stream is for checkpoints; llama.cpp's own quantizer streams GGUF files by itself"
        )
    folder = resolve(model, revision)
    tokenizer = load_tokenizer(folder)
    tokens = calibration_tokens(tokenizer, calibration) if recipe.needs_calibration else None
    work = output.parent / f".{output.name}.layers"
    made = quantize_folder(folder, recipe, tokens, work)
    source = origin(model, content_hash(folder), revision)
    written = write(made, tokenizer, work / "artefact", form, source, calibration)
    replace_folder(written, output)
    shutil.rmtree(work, ignore_errors=True)
    return output


def write(made: Any, tokenizer: Any, output: Path, form: str, source: dict[str, Any],
          calibration: Path | None = None) -> Path:  # fmt: skip
    """Write a quantized model with its record, which names the calibration text that was asked for."""
    from qcourse.calibrate import text_record
    from qcourse.export import save

    manifest = {**made.manifest, "source": source}
    if calibration is not None:
        manifest["calibration"] = {**(manifest["calibration"] or {}), **text_record(calibration)}
    return save(made.layers, made.model, tokenizer, output, form, made.recipe, manifest)


def origin(model: str, model_hash: str, revision: str | None) -> dict[str, Any]:
    """Return what recipe.json records of the source model, without this machine's folders."""
    from qcourse.models import public_name

    return {"model": public_name(model), "hash": model_hash, "revision": revision}


def build_gguf(source: Any, recipe: Recipe, output: Path, calibration: Path | None) -> Path:
    """Write a GGUF by llama.cpp's quantizer; with a calibration text, with our importance matrix."""
    from qcourse.calibrate import importance_matrix, text_record, tokens_hash
    from qcourse.export import gguf
    from qcourse.models import check_finite, public_name

    check_finite(source.model)
    manifest = {
        "source": {"model": public_name(source.name), "hash": source.hash},
        "imatrix": calibration is not None,
    }
    matrix = None
    if calibration is not None:
        tokens = calibration_tokens(source.tokenizer, calibration)
        manifest["calibration"] = {"sha256": tokens_hash(tokens), **text_record(calibration)}
        matrix = importance_matrix(source.model, tokens)
    if recipe.variant in ("BF16", "F16"):
        return gguf.write(source.model, source.tokenizer, output, recipe, manifest)
    with tempfile.TemporaryDirectory() as folder:
        dense = gguf.write(source.model, source.tokenizer, Path(folder) / "dense.gguf")
        return gguf.quantize(dense, output, recipe.variant, matrix, recipe=recipe, manifest=manifest)


def calibration_tokens(tokenizer: Any, file: Path | None) -> Any:
    """Return calibration windows of a text file or hub dataset, or of the course's own prose."""
    from qcourse.calibrate import batches, read_texts
    from qcourse.skills import prose

    texts = prose("calibration") if file is None else read_texts(file)
    return batches(tokenizer, texts, SAMPLES, SEQUENCE)
