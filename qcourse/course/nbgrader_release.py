"""Write the lessons as a course for nbgrader: `python -m qcourse.course.nbgrader_release FOLDER`.

Each lesson is an assignment, source/NN_name/NN_name.ipynb, made from its solution notebook. After every check
stands a locked cell of one point that fails where the check does not pass.
"""

import re
import sys
from pathlib import Path

import nbformat

from qcourse.common import QCourseError, atomic_path, repository
from qcourse.course.lesson_from_solution import SOLUTION
from qcourse.course.stored_outputs import cleared

CHECK = re.compile(r'^check\("(\d\d\.\w+)", (\w+)\)', re.MULTILINE)
TEST = 'from qcourse.course.check import require\n\nrequire("{}", {})'
CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "qcourse"
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
c.ExecutePreprocessor.timeout = 600
"""


def released(solution: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an nbgrader source notebook of a solution notebook: solution cells marked, a test a check."""
    notebook = cleared(solution)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        cell.metadata.pop("nbgrader", None)
        if cell.cell_type != "code":
            continue
        if SOLUTION.search(cell.source):
            cell.metadata["nbgrader"] = marks(f"answer-{cell.id}", solution=True)
        for identifier, function in CHECK.findall(cell.source):
            name = f"test-{identifier.replace('.', '-')}"
            test = nbformat.v4.new_code_cell(TEST.format(identifier, function), id=name)
            test.metadata["nbgrader"] = marks(name, grade=True, locked=True, points=1)
            cells.append(test)
    notebook.cells = cells
    return notebook


def marks(name: str, **own: bool | int) -> dict:
    """Return the metadata of one cell, in nbgrader's third schema."""
    plain = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3}
    return {"grade_id": name, **plain, **own}


def release(folder: Path, repository_folder: Path | None = None) -> list[Path]:
    """Write source/ and, where there is none, nbgrader_config.py; return the notebooks written.

    Raises QCourseError where the folder cannot be written.
    """
    written = []
    solutions = (repository_folder or repository()) / "notebooks" / "solutions"
    try:
        for path in sorted(solutions.glob("*.ipynb")):
            target = folder / "source" / path.stem / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                nbformat.write(released(nbformat.read(path, as_version=4)), temporary)
            written.append(target)
        if not (folder / "nbgrader_config.py").exists():
            (folder / "nbgrader_config.py").write_text(CONFIG)
    except OSError as error:
        raise QCourseError(
            f"{folder} cannot be written ({error.strerror}); name a folder of yours"
        ) from error
    return written


def main() -> None:
    """Write the course into the folder named."""
    if len(sys.argv) != 2:
        sys.exit("error: name one folder: python -m qcourse.course.nbgrader_release FOLDER")
    try:
        for path in release(Path(sys.argv[1])):
            print(path)
    except QCourseError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
