"""Where measured figures of claims are kept: those that ship with the course, and what this machine found."""

import json
from collections.abc import Iterator
from pathlib import Path

from qcourse.common import data_folder, home_folder, results_folder

Entries = dict[str, dict[str, dict]]  # claim -> model -> {"figure": {"value", "low", "high"}, "setting"}


def measured(shipped: bool = True) -> Entries:
    """Return what was measured, by claim and model: what ships, then what this machine found."""
    found: Entries = {}
    for path in (
        *(reference_files() if shipped else ()),
        results_folder() / "home" / "claims.json",
        measured_file(),
    ):
        for identifier, entries in stored(path).items():
            found[identifier] = found.get(identifier, {}) | entries
    return found


def reference_files() -> Iterator[Path]:
    """Yield the files of figures that ship with the course, each of one model."""
    yield from sorted((data_folder() / "reference").rglob("claims.json"))


def measured_file() -> Path:
    """Return where `settle` keeps figures: claims.json in the learner's home folder."""
    return home_folder() / "claims.json"


def stored(path: Path) -> Entries:
    """Read measured figures; an absent or damaged file, and rows without an interval, hold none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = {name: {model: entry for model, entry in entries.items() if is_entry(entry)}
             for name, entries in found.items() if isinstance(entries, dict)}  # fmt: skip
    return {name: entries for name, entries in whole.items() if entries}


def is_entry(entry: object) -> bool:
    """Say whether a stored value is a figure with its interval."""
    return isinstance(entry, dict) and isinstance(entry.get("figure"), dict)
