"""What several commands share: how a recipe is named by options, and how results are printed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from qcourse.common import QCourseError, read_text, record_path

if TYPE_CHECKING:
    from qcourse.recipe import Recipe

AsJson = Annotated[bool, typer.Option("--json", help="machine-readable")]
ApiKey = Annotated[
    str | None, typer.Option(envvar="QCOURSE_API_KEY", help="the server's key", show_envvar=True)
]


def chosen_recipe(method: str | None, given: str | None, changes: dict[str, Any]) -> "Recipe":
    """Return the recipe of --method, or of --recipe (a name or a file), with the options applied.

    changes: bits, group_size, symmetric, desc_act; None where the option was not given.
    Raises QCourseError when neither or both are given and for settings that contradict each other.
    """
    if (method is None) == (given is None):
        raise QCourseError(
            "name what to do by --method or by --recipe, one of them; --method gptq is a start"
        )
    recipe = recipe_of(method or given)
    asked = {name: value for name, value in changes.items() if value is not None}
    if asked and recipe.method == "gguf":
        raise QCourseError(
            f"a GGUF type fixes its grid, so {', '.join(asked)} cannot be set; name another type instead of "
            f"{recipe.variant}, such as --method gguf-q3_k_m"
        )
    return replace(recipe, **asked) if asked else recipe


def recipe_of(text: str) -> "Recipe":
    """Return the recipe that a text means: a file's, if it names one that is there, else that of the name."""
    from qcourse.recipe import Recipe, named

    if Path(text).is_file() or text.endswith(".json"):
        return Recipe.from_json(read_text(Path(text)))
    return named(text)


def chosen_format(recipe: "Recipe", asked: str | None) -> str:
    """Return the file format: the one asked for, or the method's usual one; QCourseError if it cannot be."""
    from qcourse.recipe import FORMATS, METHODS, check_form

    if asked is not None and asked not in FORMATS:
        raise QCourseError(f"unknown format {asked!r}; known are {', '.join(FORMATS)}")
    usual = "awq" if recipe.transform == "awq" and recipe.bits == 4 and not recipe.symmetric else (
        METHODS[recipe.method].format)  # fmt: skip
    form = asked or usual
    check_form(recipe, form)
    return form


def output_place(path: Path, form: str) -> Path:
    """Return a path to write a format to, a link followed.

    Raises QCourseError if something else than such an artefact is there, and where nothing can be written.
    """
    from qcourse.export.folder import writable_place

    path = path.resolve() if path.is_symlink() else path
    writable_place(path)
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
    """Say whether a record of ours, of this version or an earlier one, tells how it was made."""
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
