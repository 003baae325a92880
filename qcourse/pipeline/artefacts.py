"""Artefacts of lanes and lessons: built once for a model, a recipe and a text, found again by both."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from qcourse.common import QCourseError, shared_folder
from qcourse.pipeline.build import build
from qcourse.pipeline.calibration import Calibration
from qcourse.recipe import Recipe, fit, named


def recipe_for(name: str, base: Any) -> Recipe:
    """Return the recipe of a name for a LoadedModel: with its group size, where the name says none."""
    from qcourse.models import widths

    recipe = named(name)
    return recipe if recipe.method == "gguf" else fit(recipe, widths(base.model))


def folder_of(recipe: Recipe, form: str, base: Any, prefix: str = "") -> Path:
    """Return artefacts/<prefix><recipe>-<format> in `shared_folder`, one level deeper but for pico."""
    folder = shared_folder() / "artefacts"
    if base.name != "pico":
        folder /= f"model-{base.hash[:8]}"
    return folder / f"{prefix}{recipe.name}-{form}"


def artefact(name: str, form: str, base: Any, prefix: str = "", texts: Sequence[str] | None = None) -> Path:
    """Return the artefact of a recipe of the LoadedModel `base`, built now unless it is there.

    form: a format of qcourse.recipe.FORMATS; a GGUF's path is the file's. prefix: keeps the artefacts of a
    fine-tuned model apart; texts: what to calibrate on, default the course's prose.
    An artefact of another model, recipe or text at the same place is built anew; a second process waits.
    Rows that a GGUF type does not divide take llama.cpp's fallback types.
    """
    recipe = recipe_for(name, base)
    folder = folder_of(recipe, form, base, prefix)
    path = folder / "model.gguf" if form == "gguf" else folder
    text = Calibration(texts=texts, name=f"{prefix}text") if texts else Calibration()
    with one_builder(folder):
        if not is_current(path, recipe, base, text):
            own = None if form == "gguf" or not recipe.needs_calibration else text
            build(base, recipe, form, path, calibration=own, progress=False, allow_fallback=True)
    return path


@contextmanager
def one_builder(folder: Path) -> Iterator[None]:
    """Hold the lock of one artefact, so that lessons run side by side build it once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        yield


def is_current(
    path: Path, recipe: Recipe, base: Any, text: Calibration | None = None, **made_by: Any
) -> bool:
    """Say whether `path` holds this recipe of this model, on this text, made by what is said."""
    from qcourse.recipe.record import read_record

    try:
        record = read_record(path)
    except QCourseError:
        return False
    same = record.recipe == recipe and record.source is not None and record.source.hash == base.hash
    more = record.kv_cache is not None or (recipe.method == "gguf" and record.calibration is not None)
    if more or not (path.exists() and same and record.made_by == made_by):
        return False
    if text is None or not recipe.needs_calibration:
        return True
    tokens = text.tokens(base.tokenizer)
    return record.calibration is not None and record.calibration.sha256 == text.facts(tokens)["sha256"]
