"""The prose of the course: the documentation text that every CPython carries, split by document name."""

import ast
import functools
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from qcourse.common import QCourseError, data_folder
from qcourse.skills.item import percent

HELD_OUT_PERCENT = 6
SHORTEST = 160  # characters: shorter docstrings say little
SKIPPED = {"site-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__", "turtledemo", "ensurepip"}


def held_out(name: str) -> bool:
    """Return whether the document of this name, whatever its version, belongs to evaluation."""
    return percent(name) < HELD_OUT_PERCENT


@functools.cache
def documents() -> dict[str, str]:
    """Return name -> text of the documentation in the running Python, duplicates removed, in name order."""
    from pydoc_data.topics import topics

    found = {f"topics:{name}": text for name, text in topics.items()}
    for name, text in _docstrings(Path(sysconfig.get_paths()["stdlib"])):
        found.setdefault(name, text)
    seen: set[str] = set()
    kept = {}
    for name in sorted(found):
        text = found[name].strip()
        if len(text) >= SHORTEST and text not in seen:
            seen.add(text)
            kept[name] = text
    return kept


def _docstrings(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, docstring) of every definition below `root`; nothing is imported."""
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if SKIPPED.intersection(parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        yield from _walk(tree, ".".join(parts))


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Yield the docstring of `node` and of the definitions inside it."""
    if text := ast.get_docstring(node):
        yield name, text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _walk(child, f"{name}.{child.name}")


def prose(split: str) -> list[str]:
    """Return the documents of a split.

    "eval" and "calibration" are stored with the course, so that every Python
    measures on the same text; "train" is read from the running Python and
    holds no document whose name or text is in "eval".
    """
    if split in ("eval", "calibration"):
        return [row["text"] for row in read_rows(data_folder() / "eval" / f"{_FILES[split]}.jsonl")]
    if split == "train":
        frozen = {text.strip() for text in prose("eval")}
        return [text for name, text in documents().items() if not held_out(name) and text not in frozen]
    raise QCourseError(f"there is no prose split {split!r}: choose eval, train or calibration")


_FILES = {"eval": "prose", "calibration": "calibration"}


def read_rows(path: Path) -> list[dict]:
    """Return the JSON objects of a .jsonl file."""
    if not path.exists():
        raise QCourseError(f"{path} is missing: it ships with the course, so restore it with git checkout")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
