"""Derive each lesson from its solution notebook: `python -m qcourse.course.lesson_from_solution`.

The marks are nbgrader's: the lines from `### BEGIN SOLUTION` to `### END SOLUTION`
become `raise NotImplementedError`, and outputs do not travel: `stored_outputs` puts a run's own in.
"""

import re
from pathlib import Path

import nbformat

from qcourse.common import atomic_path, repository
from qcourse.course import colab
from qcourse.course.stored_outputs import cleared, drop_stale, kept

SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION", re.DOTALL | re.MULTILINE)


def derived(solution: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the lesson of a solution notebook: stubs for solutions, no outputs, no execution counts."""
    lesson = cleared(solution)
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.source = SOLUTION.sub(r"\1raise NotImplementedError", cell.source)
    return lesson


def derive(repository_folder: Path | None = None) -> list[Path]:
    """Write notebooks/NN_name.ipynb from every notebooks/solutions/NN_name.ipynb; return what was written.

    Solution notebooks are first given the cell that prepares Colab, and links where an address is configured.
    A lesson or solution whose code stays as it is keeps its stored outputs.
    """
    root, address = repository_folder or repository(), colab.address()
    folder = root / "notebooks"
    colab.put(folder / "solutions", address)
    written = []
    for source in sorted((folder / "solutions").glob("*.ipynb")):
        drop_stale(source)
        lesson = derived(nbformat.read(source, as_version=4))
        if is_current(folder / source.name, lesson):
            continue
        if (folder / source.name).exists():
            lesson = kept(lesson, nbformat.read(folder / source.name, as_version=4))
        with atomic_path(folder / source.name) as temporary:
            nbformat.write(lesson, temporary)
        written.append(folder / source.name)
    if (root / "README.md").exists():
        colab.put_into_readme(root / "README.md", address)
    return written


def is_current(path: Path, lesson: nbformat.NotebookNode) -> bool:
    """Return whether the file holds these cells already, with outputs or without."""
    if not path.exists():
        return False
    pairs = [[(cell.cell_type, cell.source, cell.id) for cell in notebook.cells]
             for notebook in (nbformat.read(path, as_version=4), lesson)]  # fmt: skip
    return pairs[0] == pairs[1]


if __name__ == "__main__":
    for path in derive():
        print(path.name)
