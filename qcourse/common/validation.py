"""Values from files and callers, checked by pydantic and refused in one sentence."""

import functools
import reprlib
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin

from qcourse.common.errors import QCourseError

T = TypeVar("T")
WORDS = {
    "string": "a word", "int": "a whole number", "float": "a number", "bool": "true or false",
    "dict": "a table", "list": "a list of names", "tuple": "a list of names",
}  # fmt: skip


@functools.cache
def adapter(kind: Any) -> Any:
    """Return pydantic's validator of a type."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def validated(kind: Any, value: Any, what: str, example: str = "") -> Any:
    """Return the value if it is of the kind that an annotation states, as it is: "4" is no number, True no 1.

    what: how a sentence calls the value; example: of a right one. Raises QCourseError.
    """
    from pydantic import ValidationError

    try:
        return adapter(kind).validate_python(value, strict=get_origin(kind) is not tuple)  # JSON has lists
    except ValidationError as error:
        first = error.errors()[0]
        words = WORDS["list"] if first["loc"] else WORDS.get(first["type"].split("_")[0], first["msg"])
        words += " or null" if type(None) in get_args(kind) else ""
        such = f" such as {example}" if example else ""
        raise QCourseError(f"{what} must be {words}{such}, not {reprlib.repr(value)}") from None


def read_as(kind: type[T], values: Any, what: str) -> T:
    """Return the dataclass or pydantic model of plain values, as JSON and YAML give them.

    Raises QCourseError for the first field that is unknown, missing or of another type, naming it.
    """
    from pydantic import ValidationError

    known = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    if known and isinstance(values, dict) and (unknown := sorted(set(map(str, values)) - set(known))):
        raise QCourseError(f"{what} has unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
    try:
        return adapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise QCourseError(
            f"{what}: {place}: {first['msg'].lower()}, not {reprlib.repr(first['input'])}"
        ) from None
