"""The record of an artefact, recipe.json, read back with its checks."""

import json
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, record_path
from qcourse.recipe.recipe import Recipe

FIELDS = ("recipe", "format")


def read_record(artefact: Path | str) -> dict[str, Any]:
    """Return the record of an artefact: recipe.json in its folder, or FILE.recipe.json beside a GGUF file.

    Raises QCourseError if there is none, if it is not JSON, or if it is not a record.
    """
    path = record_path(artefact)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise QCourseError(f"{artefact} has no {path.name}; it was not written by qcourse") from None
    except (ValueError, RecursionError):
        raise QCourseError(f"{path} is not JSON; write the artefact again") from None
    missing = [name for name in FIELDS if not isinstance(record, dict) or name not in record]
    if missing or not isinstance(record.get("manifest", {}), dict):
        lack = f"lacks {', '.join(missing)}" if missing else "has a manifest that is not a table"
        raise QCourseError(f"{path} is not a record of qcourse, it {lack}; write the artefact again")
    return {"name": None, "manifest": {}} | record


def read_recipe(artefact: Path | str) -> Recipe | None:
    """Return the recipe that an artefact was made by, or None where its record names none.

    Raises QCourseError for a record that cannot be read and for a recipe that this version does not know.
    """
    values = read_record(artefact)["recipe"]
    if values is None:
        return None
    try:
        return Recipe.from_values(values)
    except QCourseError as error:
        raise QCourseError(f"{record_path(artefact)}: {error}; write the artefact again") from error
