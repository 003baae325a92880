"""Evidence of what a method does not do: count the calls of a function while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any


@contextmanager
def count_calls(owner: Any, name: str) -> Iterator[list[str]]:
    """Count the calls of `owner.name` inside the block: the list holds one entry a call.

    The function works as before, and is put back at the end, whatever the block raises.
    """
    original, calls = getattr(owner, name), []

    @wraps(original)
    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return original(*arguments, **options)

    setattr(owner, name, counted)
    try:
        yield calls
    finally:
        setattr(owner, name, original)
