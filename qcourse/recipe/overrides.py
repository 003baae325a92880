"""Overrides: what a recipe does otherwise with linears whose names match a pattern."""

import fnmatch
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.validation import validated

OVERRIDABLE = ("bits", "group_size", "symmetric", "skip")


def matches(name: str, pattern: str) -> bool:
    """Return whether an override's pattern means the linear of this full name; it may start at any dot."""
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f"*.{pattern}")


def check_overrides(recipe: Any) -> None:
    """Each override is a table of known fields with values that the method has; 16 bits keep a module.

    Each is tried by itself, so that a bad value fails when the recipe is made and not mid-run.
    """
    for pattern, values in recipe.overrides.items():
        fields = set(values) if isinstance(values, dict) else {"(not a table)"}
        if unknown := sorted(map(str, fields - set(OVERRIDABLE))):
            raise QCourseError(
                f"override {pattern!r} has unknown fields {', '.join(unknown)}; "
                f"known are {', '.join(OVERRIDABLE)}"
            )
        try:
            validated(bool, values.get("skip", False), "skip of a recipe")
            validated(int, values.get("group_size", 1), "group_size of a recipe")
            changes = {key: value for key, value in values.items() if key != "skip" and not kept(key, value)}
            replace(recipe, overrides={}, **changes)
        except QCourseError as error:
            raise QCourseError(f"override {pattern!r}: {error}") from error


def kept(key: str, value: Any) -> bool:
    """Say whether an override's entry keeps the module as it is: its width stays 16 bits."""
    return key == "bits" and value == 16 and isinstance(value, int)


def check_overrides_meet(overrides: Iterable[str], columns: Iterable[str]) -> None:
    """Raise QCourseError for an override that no linear of the model matches."""
    for pattern in overrides:
        if not any(matches(name, pattern) for name in columns):
            raise QCourseError(
                f"override {pattern!r} matches no linear of the model; one is {next(iter(columns))}"
            )
