"""The lessons as an nbgrader course: a point an exercise, released and graded by nbgrader itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from qcourse.common import repository
from qcourse.course import nbgrader_release
from qcourse.course.check import identifiers, require
from qcourse.course.lesson_from_solution import SOLUTION, derived

SOLUTIONS = repository() / "notebooks" / "solutions"
NAME = "02_rounding"
RETURN = re.compile(r"return (.+)")


def mark(cell, key):
    return cell.metadata.get("nbgrader", {}).get(key)


def test_every_exercise_is_one_locked_point_after_its_check():
    graded = []
    for path in sorted(SOLUTIONS.glob("*.ipynb")):
        solution = nbformat.read(path, as_version=4)
        notebook = nbgrader_release.released(solution)
        nbformat.validate(notebook)
        tests = [cell for cell in notebook.cells if mark(cell, "grade")]
        assert all(mark(cell, "locked") and mark(cell, "points") == 1 for cell in tests)
        graded += [re.search(r'require\("([\w.]+)"', cell.source)[1] for cell in tests]
        answers = [cell.source for cell in notebook.cells if mark(cell, "solution")]
        assert answers == [cell.source for cell in solution.cells if SOLUTION.search(cell.source)]
        names = [mark(cell, "grade_id") for cell in notebook.cells if mark(cell, "grade_id")]
        assert len(names) == len(set(names)) == len(tests) + len(answers)
    assert sorted(graded) == sorted(identifiers())


@pytest.mark.parametrize(
    "answer", [lambda group, bits: group, lambda group, bits: None], ids=["wrong", "none"]
)
def test_a_test_cell_raises_the_verdict(answer):
    with pytest.raises(AssertionError, match=r"02\.round_group (failed|not tried): \w+"):
        require("02.round_group", answer)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The course of one lesson, up to its last exercise, and a function that runs nbgrader there."""
    pytest.importorskip("nbgrader", reason="nbgrader is not installed; make extras")
    root = tmp_path_factory.mktemp("course")
    lesson = nbformat.read(SOLUTIONS / f"{NAME}.ipynb", as_version=4)
    last = max(index for index, cell in enumerate(lesson.cells) if SOLUTION.search(cell.source))
    lesson.cells = lesson.cells[: last + 1]
    (root / "notebooks" / "solutions").mkdir(parents=True)
    nbformat.write(lesson, root / "notebooks" / "solutions" / f"{NAME}.ipynb")
    nbgrader_release.release(root, root)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # nbgrader calls alembic by its name
    environment = os.environ | {"PATH": path, "QCOURSE_HOME": str(root / "home"),
                                "PYTHONPATH": str(repository())}  # fmt: skip

    def nbgrader(*arguments):
        command = (sys.executable, "-m", "nbgrader", *arguments)
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    nbgrader("generate_assignment", NAME)
    return root, lesson, nbgrader


@pytest.mark.slow
def test_the_released_assignment_shows_what_the_lesson_shows(course):
    root, lesson, _ = course
    released = nbformat.read(root / "release" / NAME / f"{NAME}.ipynb", as_version=4)
    given = [cell for cell in released.cells if not mark(cell, "grade")]
    assert [cell.source for cell in given] == [cell.source for cell in derived(lesson).cells]
    assert "SOLUTION" not in nbformat.writes(released)
    locked = [cell for cell in released.cells if mark(cell, "grade")]
    assert len(locked) == 3 and not any(cell.metadata["editable"] for cell in locked)


@pytest.mark.slow
def test_right_answers_get_every_point_and_wrong_ones_none(course):
    """A submission with all three; one with the first right, the second wrong, the third not tried."""
    root, lesson, nbgrader = course
    answers = [cell.source for cell in lesson.cells if SOLUTION.search(cell.source)]
    mixed = [answers[0], RETURN.sub(r"return 2 * \1", answers[1])]
    for student, given in (("right", answers), ("mixed", mixed)):
        handed_in = nbformat.read(root / "release" / NAME / f"{NAME}.ipynb", as_version=4)
        cells = [cell for cell in handed_in.cells if mark(cell, "solution")]
        for cell, answer in zip(cells, given, strict=False):
            cell.source = answer
        target = root / "submitted" / student / NAME / f"{NAME}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(handed_in, target)
    nbgrader("autograde", NAME)
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as gradebook:
        points = {
            student: {grade.name: (grade.score, grade.max_score)
                      for grade in gradebook.find_submission_notebook(NAME, NAME, student).grades}
            for student in ("right", "mixed")
        }  # fmt: skip
    names = ("test-02-round_group", "test-02-rounding_error", "test-02-asymmetric_grid")
    assert points == {"right": dict.fromkeys(names, (1, 1)),
                      "mixed": dict(zip(names, ((1, 1), (0, 1), (0, 1)), strict=True))}  # fmt: skip
