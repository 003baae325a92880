"""Derive each lesson from its solution notebook: `python -m qcourse.course.lesson_from_solution`.

The marks are nbgrader's: the lines from `### BEGIN SOLUTION` to `### END SOLUTION`
become `raise NotImplementedError`, and outputs do not travel.
"""

import re
from pathlib import Path

import nbformat

from qcourse.common import atomic_path, repository
from qcourse.course import colab

SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION", re.DOTALL | re.MULTILINE)


def derived(solution: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the lesson of a solution notebook: stubs for solutions, no outputs, no execution counts."""
    lesson = nbformat.from_dict(solution)
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.source = SOLUTION.sub(r"\1raise NotImplementedError", cell.source)
            cell.outputs, cell.execution_count = [], None
    lesson.metadata.pop("widgets", None)
    return lesson


def derive(repository_folder: Path | None = None) -> list[Path]:
    """Write notebooks/NN_name.ipynb from every notebooks/solutions/NN_name.ipynb; return what was written.

    A solution notebook without the cell that prepares Colab is given it first.
    """
    folder = (repository_folder or repository()) / "notebooks"
    colab.put(folder / "solutions")
    written = []
    for source in sorted((folder / "solutions").glob("*.ipynb")):
        lesson = derived(nbformat.read(source, as_version=4))
        with atomic_path(folder / source.name) as temporary:
            nbformat.write(lesson, temporary)
        written.append(folder / source.name)
    return written


if __name__ == "__main__":
    for path in derive():
        print(path.name)
