"""Show a function of the package from its own file, so that text and code cannot differ."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path

from qcourse.common import repository
from qcourse.common.display import show_markdown


def source_text(function: Callable | type, docstring: bool = True) -> str:
    """Return the source of a function or class, dedented; without its docstring if asked."""
    text = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    return text if docstring else without_docstring(text)


def without_docstring(text: str) -> str:
    """Return the source of one definition with its own docstring's lines cut out."""
    body = ast.parse(text).body[0].body
    first = body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first, "value", None), ast.Constant)
    if not is_docstring or len(body) == 1:
        return text
    lines = text.splitlines(keepends=True)
    return "".join(lines[: first.lineno - 1] + lines[first.end_lineno :])


def show_source(*functions: Callable | type, docstring: bool = True) -> None:
    """Show each function's source with the file and line it stands in."""
    for function in functions:
        inner = inspect.unwrap(function)
        file = Path(inspect.getsourcefile(inner)).resolve()
        place = file.relative_to(repository()) if file.is_relative_to(repository()) else file.name
        line = inspect.getsourcelines(inner)[1]
        text = source_text(function, docstring)
        show_markdown(f"`{place}`, line {line}\n```python\n{text}```", f"# {place}, line {line}\n{text}")
