"""Artefacts of the lanes: built once for a model and a recipe, found again by both."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from qcourse.common import QCourseError, shared_folder
from qcourse.recipe import Recipe, named

CALIBRATION_SEQUENCES, CALIBRATION_LENGTH, SEED = 64, 512, 0


def folder_of(recipe: str, form: str, base: Any, prefix: str = "") -> Path:
    """Return artefacts/<prefix><recipe>-<format> in `shared_folder`, one level deeper but for pico."""
    folder = shared_folder() / "artefacts"
    if base.name != "pico":
        folder /= f"model-{base.hash[:8]}"
    return folder / f"{prefix}{named(recipe).name}-{form}"


def artefact(recipe: str, form: str, base: Any, prefix: str = "", texts: list[str] | None = None) -> Path:
    """Return the artefact of a recipe of the loaded model `base`, built now unless it is there.

    form: a format of qcourse.export, or "gguf", whose path is the file's. prefix: keeps the artefacts
    of a fine-tuned model apart; texts: what to calibrate on, default the course's prose.
    An artefact of another model or recipe at the same place is built anew; a second process waits.
    """
    from qcourse.calibrate import tokens_hash

    folder = folder_of(recipe, form, base, prefix)
    path = folder / "model.gguf" if form == "gguf" else folder
    chosen = named(recipe)
    with one_builder(folder):
        tokens = calibration_tokens(base.tokenizer, texts=texts) if chosen.needs_calibration else None
        if is_current(path, chosen, base.hash, None if tokens is None else tokens_hash(tokens)):
            return path
        if form == "gguf":
            return build_gguf(path, chosen, base)
        return build_folder(path, chosen, form, base, tokens)


@contextmanager
def one_builder(folder: Path) -> Iterator[None]:
    """Hold the lock of one artefact, so that lessons run side by side build it once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        yield


def is_current(
    path: Path, recipe: Recipe, model_hash: str, calibration: str | None = None, **made_by: str
) -> bool:
    """Say whether `path` holds this recipe of this model, whoever built it, and what else decided it.

    calibration: the hash of the tokens it must have been calibrated on, None where that is not asked;
    made_by: entries of the manifest. An importance matrix or scales of a KV cache make it another artefact.
    """
    from qcourse.export import read_record

    try:
        record = read_record(path)
    except QCourseError:
        return False
    manifest = record["manifest"]
    source, text = manifest.get("source") or {}, manifest.get("calibration") or {}
    same = all(manifest.get(key) == value for key, value in made_by.items())
    same = same and source.get("hash") == model_hash and calibration in (None, text.get("sha256"))
    plain = not manifest.get("imatrix") and "kv_cache" not in record
    return path.exists() and same and plain and record["recipe"] == json.loads(recipe.to_json())


def calibration_tokens(
    tokenizer: Any, n_samples: int = CALIBRATION_SEQUENCES, texts: list[str] | None = None
) -> Any:
    """Return the calibration windows of every lane and lesson, int64 [n_samples, 512]."""
    from qcourse import calibrate, skills

    texts = texts or skills.prose("calibration")
    return calibrate.batches(tokenizer, texts, n_samples, CALIBRATION_LENGTH, SEED)


def build_folder(path: Path, recipe: Recipe, form: str, base: Any, tokens: Any) -> Path:
    """Quantize a copy of the model and write it in the asked format, with the command line's record."""
    import copy

    from qcourse.pipeline.build import write
    from qcourse.quantize import quantize

    result = quantize(copy.deepcopy(base.model), recipe, tokens, progress=False)
    return write(result, base.tokenizer, path, form, made_of(base)["source"])


def made_of(base: Any) -> dict[str, Any]:
    """Return what a manifest tells of the model quantized: its name without folders, and its hash."""
    from qcourse.pipeline.build import origin

    return {"source": origin(base.name, base.hash, None)}


def build_gguf(path: Path, recipe: Recipe, base: Any) -> Path:
    """Write the bf16 GGUF of the model and, for another type, have llama.cpp quantize it."""
    from qcourse.export import gguf

    manifest = made_of(base)
    if recipe.variant == "BF16":
        return gguf.write(base.model, base.tokenizer, path, recipe, manifest)
    source = artefact("gguf-bf16", "gguf", base)
    gguf.quantize(source, path, recipe.variant, recipe=recipe, manifest=manifest)
    return path
