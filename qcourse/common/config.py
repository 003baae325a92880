"""The config.json of a model folder, read before anything else of it."""

import json
from pathlib import Path
from typing import Any

from qcourse.common.errors import QCourseError


def strict_json(text: str) -> Any:
    """Return what JSON says; ValueError also for a table with one key twice, which json.loads lets pass."""
    return json.loads(text, object_pairs_hook=_table)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands in one table twice")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model folder's config.json; QCourseError when it is no JSON object that names a model type."""
    path = folder / "config.json"
    try:
        config = strict_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise QCourseError(f"{folder} has no config.json; give the folder of a language model") from error
    except (OSError, ValueError) as error:
        raise QCourseError(f"{path} is not readable JSON ({error}); download it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise QCourseError(f"{path} names no model_type; give the folder of a language model")
    return config
