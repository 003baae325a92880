"""What several commands share: how a recipe is named by options, and how results are printed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qcourse.common import QCourseError, read_text, record_path

if TYPE_CHECKING:
    from qcourse.recipe import Recipe

FORMATS = ("gptq", "awq", "compressed-tensors", "bitsandbytes", "gguf", "merged")
DEFAULT_FORMAT = {
    "gptq": "gptq",
    "nf4": "bitsandbytes",
    "llm-int8": "bitsandbytes",
    "bf16": "merged",
    "gguf": "gguf",
}


def chosen_recipe(method: str | None, file: Path | None, changes: dict[str, Any]) -> "Recipe":
    """Return the recipe of --method (a method or a recipe's name) or --recipe NAME or FILE, with the options.

    changes: bits, group_size, symmetric, desc_act; None where the option was not given.
    Raises QCourseError when neither or both are given and for settings that contradict each other.
    """
    if (method is None) == (file is None):
        raise QCourseError(
            "name what to do by --method or by --recipe, one of them; --method gptq is a start"
        )
    if file is not None:
        recipe = of_file_or_name(str(file))
    else:
        recipe = of_method(method)
    given = {name: value for name, value in changes.items() if value is not None}
    if given and recipe.method == "gguf":
        raise QCourseError(
            f"a GGUF type fixes its grid, so {', '.join(given)} cannot be set; name another type instead of "
            f"{recipe.variant}, such as --method gguf-q3_k_m"
        )
    return replace(recipe, **given) if given else recipe


def of_file_or_name(value: str) -> "Recipe":
    """Return the recipe of a JSON file, or of a name where no file is there and none is meant."""
    from qcourse.recipe import Recipe, named

    path = Path(value)
    is_file = path.is_file() or path.suffix == ".json" or len(path.parts) > 1
    return Recipe.from_json(read_text(path)) if is_file else named(value)


def of_method(method: str) -> "Recipe":
    """Return the usual recipe of a method, or the recipe of a name; QCourseError lists the methods."""
    from qcourse.recipe import METHODS, named
    from qcourse.recipe.names import ALIASES

    try:
        return named({"gguf": "gguf-q4_k_m"}.get(method, method))
    except QCourseError as error:
        if "-w" in method or method.startswith("gguf-"):
            raise
        known = ", ".join(dict.fromkeys((*METHODS, *ALIASES)))
        raise QCourseError(
            f"unknown recipe {method!r} and no method; methods are {known}, recipes such as gptq-w4g128"
        ) from error


def chosen_format(recipe: "Recipe", asked: str | None) -> str:
    """Return the file format: the one asked for, or the method's usual one; QCourseError if it cannot be."""
    from qcourse.recipe import compatibility

    if asked is not None and asked not in FORMATS:
        raise QCourseError(f"unknown format {asked!r}; known are {', '.join(FORMATS)}")
    usual = "awq" if recipe.transform == "awq" and recipe.bits == 4 and not recipe.symmetric else (
        DEFAULT_FORMAT.get(recipe.method, "compressed-tensors"))  # fmt: skip
    form = asked or usual
    if not compatibility(recipe, form):
        able = sorted({row["format"] for row in compatibility(recipe)})
        raise QCourseError(
            f"{recipe.name} has no {form} form; it can be written as: {', '.join(able) or 'none'}"
        )
    return form


def output_place(path: Path, form: str) -> Path:
    """Return a path to write a format to; QCourseError if something else than such an artefact is there."""
    if form == "gguf" and path.is_dir():
        raise QCourseError(
            f"{path} is a folder and a GGUF is a file; name one, such as {path / 'model.gguf'}"
        )
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty and not is_artefact(path):
        raise QCourseError(
            f"{path} exists and is not an artefact; it is left as it is: choose another --output"
        )
    if form != "gguf" and path.is_file():
        raise QCourseError(
            f"{path} is a GGUF file and {form} is written as a folder; choose another --output"
        )
    return path


def is_artefact(path: Path) -> bool:
    """Say whether a record of ours tells how the folder or the file was made."""
    try:
        found = json.loads(record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"recipe", "format", "versions"} <= found.keys()


class Answer(NamedTuple):
    """What a command answers on stdout, and its exit code."""

    text: str
    code: int = 0


def answer(values: object, as_json: bool, text: str, code: int = 0) -> Answer:
    """Return the values as one JSON document, or the text for people."""
    return Answer(json.dumps(values, indent=2, ensure_ascii=False) if as_json else text, code)
