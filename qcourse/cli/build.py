"""From MODEL and recipe to artefact: load, calibrate, quantize, export."""

import tempfile
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError
from qcourse.recipe import Recipe

SAMPLES, SEQUENCE = 64, 512  # calibration windows and their tokens


def build(model: str, recipe: Recipe, form: str, output: Path, revision: str | None = None,
          calibration: Path | None = None, stream: bool = False) -> Path:  # fmt: skip
    """Write the artefact of a recipe and return its path; QCourseError says what cannot be."""
    from qcourse import models

    if stream:
        raise QCourseError("--stream is not in this version, which holds the model in memory; leave it out")
    source = models.load(model, revision=revision)
    if form == "gguf":
        return build_gguf(source, recipe, output, calibration)
    from qcourse.export import save
    from qcourse.quantize import quantize

    tokens = calibration_tokens(source.tokenizer, calibration) if recipe.needs_calibration else None
    made = quantize(source.model, recipe, tokens)
    manifest = {
        **made.manifest,
        "source": {"model": model_name(model), "hash": source.hash, "revision": revision},
    }
    return save(made.layers, source.model, source.tokenizer, output, form, recipe, manifest)


def build_gguf(source: Any, recipe: Recipe, output: Path, calibration: Path | None) -> Path:
    """Write a GGUF by llama.cpp's quantizer; with a calibration text, with our importance matrix."""
    from qcourse.calibrate import importance_matrix
    from qcourse.export import gguf

    matrix = None
    if calibration is not None:
        matrix = importance_matrix(source.model, calibration_tokens(source.tokenizer, calibration))
    manifest = {
        "source": {"model": model_name(source.name), "hash": source.hash},
        "imatrix": matrix is not None,
    }
    if recipe.variant in ("BF16", "F16"):
        return gguf.write(source.model, source.tokenizer, output, recipe, manifest)
    with tempfile.TemporaryDirectory() as folder:
        dense = gguf.write(source.model, source.tokenizer, Path(folder) / "dense.gguf")
        return gguf.quantize(dense, output, recipe.variant, matrix, recipe=recipe, manifest=manifest)


def calibration_tokens(tokenizer: Any, file: Path | None) -> Any:
    """Return calibration windows of a text file, or of the course's own prose."""
    from qcourse.calibrate import batches, read_texts
    from qcourse.skills import prose

    texts = prose("calibration") if file is None else read_texts(file)
    return batches(tokenizer, texts, SAMPLES, SEQUENCE)


def model_name(model: str) -> str:
    """Return a model's name without the machine's folders."""
    return Path(model).name if Path(model).is_dir() else model
