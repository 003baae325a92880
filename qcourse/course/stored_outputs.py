"""Lessons with the outputs of one run: `python -m qcourse.course.stored_outputs [FOLDER of executed copies]`.

Executed copies of solutions lie in FOLDER/solutions.

Readers of a forge or of the site see results before they install anything. A stamp in the file's metadata
says of which code, when, on which machine and by which versions; a lesson whose code changed loses both.
"""

import hashlib
import json
import re
import sys
from datetime import date
from pathlib import Path

import nbformat

from qcourse.common import QCourseError, atomic_path, repository, results_folder
from qcourse.common.machine import cpu_name
from qcourse.common.provenance import versions
from qcourse.course import colab

STAMP = "qcourse"
LARGEST = 500_000  # bytes of a stored file
FOLDERS = re.compile(r"/[^\s'\"<>]*?/home(?=/)")


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """Return the SHA-256 of the code cells, in order; the cell for Colab counts without its address."""
    cells = [colab.CELL if colab.TAG in cell.metadata.get("tags", []) else cell.source
             for cell in notebook.cells if cell.cell_type == "code"]  # fmt: skip
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def store(executed: Path, lesson: Path) -> Path:
    """Put the outputs of an executed copy into the lesson, stamped; return the lesson's path.

    Raises QCourseError where the copy ran other code, a cell was not run or failed, or the file is too large.
    """
    copy, notebook = (nbformat.read(path, as_version=4) for path in (executed, lesson))
    if code_hash(copy) != code_hash(notebook):
        raise QCourseError(f"{executed} ran other code than {lesson.name} holds now; execute it again")
    run = {cell.id: cell for cell in copy.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = clean(run[cell.id]), run[cell.id].execution_count
    notebook.metadata[STAMP] = {
        "code": code_hash(notebook),
        "date": date.fromtimestamp(executed.stat().st_mtime).isoformat(),
        "machine": cpu_name(),
        "versions": versions(),
    }
    text = FOLDERS.sub("work", nbformat.writes(notebook))
    if len(text) > LARGEST:
        raise QCourseError(f"{lesson.name} with outputs has {len(text):,} characters, more than {LARGEST:,}")
    with atomic_path(lesson) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return lesson


def kept(lesson: nbformat.NotebookNode, old: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the lesson with the outputs and the stamp of its old file, if that ran the same code."""
    if STAMP in old.metadata and code_hash(old) == code_hash(lesson):
        ran = [cell for cell in old.cells if cell.cell_type == "code"]
        code = (cell for cell in lesson.cells if cell.cell_type == "code")
        for cell, before in zip(code, ran, strict=True):
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
        lesson.metadata[STAMP] = old.metadata[STAMP]
    return lesson


def cleared(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy without outputs, execution counts and stamp: what a learner starts from."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    for key in ("widgets", STAMP):
        copy.metadata.pop(key, None)
    return copy


def drop_stale(path: Path) -> None:
    """Clear a notebook whose outputs are of other code than it holds."""
    notebook = nbformat.read(path, as_version=4)
    if STAMP in notebook.metadata and notebook.metadata[STAMP]["code"] != code_hash(notebook):
        with atomic_path(path) as temporary:
            nbformat.write(cleared(notebook), temporary)


def clean(cell: nbformat.NotebookNode) -> list:
    """Return a cell's outputs without widgets, whose state is not kept: their text form stays.

    Raises QCourseError for a cell that was not run, or failed where its tags do not expect it.
    """
    failed = any(output.output_type == "error" for output in cell.outputs)
    if cell.execution_count is None or (failed and "raises-exception" not in cell.metadata.get("tags", [])):
        raise QCourseError(f"cell {cell.id} was not run to its end; execute the lesson again")
    for output in cell.outputs:
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return cell.outputs


def main() -> None:
    """Store the outputs of every executed copy in a folder, build/notebooks unless another is named."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else results_folder() / "notebooks"
    notebooks = repository() / "notebooks"
    for path in sorted(notebooks.rglob("[0-9][0-9]_*.ipynb")):
        if (folder / path.relative_to(notebooks)).exists():
            print(store(folder / path.relative_to(notebooks), path).relative_to(notebooks))


if __name__ == "__main__":
    main()
