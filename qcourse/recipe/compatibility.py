"""Which engine can load which recipe in which file format, with the evidence for it."""

import functools
from itertools import product
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.tables import data_table
from qcourse.recipe.recipe import Recipe

KEYS = ("method", "bits", "symmetric", "format", "engine", "capability")


@functools.cache
def table() -> tuple[dict[str, Any], ...]:
    """Return data/compatibility.yaml as flat rows: method, bits, symmetric, format, engine, capability,
    loads ("yes", "no" or "untested"), evidence (a test's id, an engine's message, or a document)."""
    rows = []
    for block in data_table("compatibility.yaml")["rows"]:
        values = [block[key] if isinstance(block[key], list) else [block[key]] for key in KEYS]
        rows += [
            dict(zip(KEYS, row, strict=True)) | {"loads": block["loads"], "evidence": block["evidence"]}
            for row in product(*values)
        ]
    return tuple(rows)


def compatibility(recipe: Recipe, format: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of the table that speak of this recipe, in one file format or in all."""
    method = "awq" if recipe.transform == "awq" and recipe.method == "rtn" else recipe.method
    return [
        row for row in table()
        if row["method"] == method and row["bits"] in (recipe.bits, "any")
        and row["symmetric"] in (recipe.symmetric, "any") and format in (None, row["format"])
        and (method != "gguf" or recipe.variant in ("", row["capability"]) or row["capability"] == "any")
    ]  # fmt: skip


def check_form(recipe: Recipe, format: str) -> None:
    """Raise QCourseError when the recipe has no such file format, naming those that it has."""
    if not compatibility(recipe, format):
        if able := sorted({row["format"] for row in compatibility(recipe)}):
            raise QCourseError(f"{recipe.name} has no {format} form; it can be written as: {', '.join(able)}")
        bits = sorted(
            {row["bits"] for row in table() if row["method"] == recipe.method and row["bits"] != "any"}
        )
        raise QCourseError(
            f"no file format holds {recipe.name}: {recipe.method} is written with "
            f"{', '.join(map(str, bits))} bits, not {recipe.bits}; --bits takes one of them"
        )


def check_engine(recipe: Recipe, format: str, engine: str) -> None:
    """Raise QCourseError when the table says that the engine cannot load this recipe in this format.

    The sentence gives the engine's reason and what would work; "untested" combinations pass.
    """
    check_form(recipe, format)
    asked = [row for row in compatibility(recipe, format) if row["engine"] == engine]
    if any(row["loads"] != "no" for row in asked):
        return
    able = sorted(
        {f"{row['format']} in {row['engine']}" for row in compatibility(recipe) if row["loads"] != "no"}
    )
    reason = asked[0]["evidence"] if asked else f"{engine} has no reader for it"
    raise QCourseError(
        f"{engine} cannot load {recipe.name} as {format}: {reason}; "
        f"it loads as: {'; '.join(able) or 'nothing else'}"
    )
