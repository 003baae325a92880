"""What kind of value each field of a recipe holds, so that a mistyped file is told so in one sentence."""

import reprlib
from dataclasses import fields
from typing import Any

from qcourse.common import QCourseError
from qcourse.recipe.recipe import Recipe

KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a word"),
    str | None: ((str, type(None)), "a word or null"),
    int: ((int,), "a whole number"),
    float: ((float, int), "a number"),
    bool: ((bool,), "true or false"),
    dict[str, dict[str, Any]]: ((dict,), 'a table such as {"*.down_proj": {"bits": 8}}'),
    tuple[str, ...]: ((list, tuple), 'a list of names such as ["lm_head"]'),
}
"""Annotation of a field -> the types that its values may have, and how a sentence calls them."""


def check_types(recipe: Recipe) -> None:
    """Raise QCourseError for the first field whose value is not of the field's type.

    Python counts True as a whole number; a recipe does not.
    """
    for field in fields(recipe):
        check_type(field.name, getattr(recipe, field.name), field.type)
    for name in recipe.ignore:
        if not isinstance(name, str):
            raise refusal("ignore", recipe.ignore, KINDS[tuple[str, ...]][1])


def check_type(name: str, value: Any, kind: Any) -> None:
    """Raise QCourseError when a value is not of the kind that an annotation states."""
    types, words = KINDS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise refusal(name, value, words)


def refusal(name: str, value: Any, words: str) -> QCourseError:
    """Return the error for a value of the wrong kind; a long value is shown shortened."""
    return QCourseError(f"{name} of a recipe must be {words}, not {reprlib.repr(value)}")
