"""Texts filled in from a Jinja template, such as a model card."""

from pathlib import Path
from typing import Any


def filled_in(template: Path, **values: Any) -> str:
    """Return a template with its blanks filled; a blank without a value is an error."""
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return jinja.from_string(template.read_text(encoding="utf-8")).render(values)
