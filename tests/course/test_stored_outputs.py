"""Outputs go into a lesson with the code that made them, and with no other."""

import nbformat
import pytest

from qcourse.common import QCourseError
from qcourse.course import stored_outputs
from qcourse.course.lesson_from_solution import derive
from qcourse.course.stored_outputs import STAMP, code_hash, store


def notebook(path, source="1 + 1", outputs=(), count=None):
    cell = nbformat.v4.new_code_cell(source, id="a", outputs=list(outputs), execution_count=count)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def printed(text):
    return nbformat.v4.new_output("stream", text=text)


def code_of(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_outputs_are_stored_with_a_stamp_and_no_machine_path(tmp_path):
    ran = notebook(tmp_path / "build" / "00.ipynb", outputs=[printed("/tmp/x/home/lessons/00: 2")], count=1)
    lesson = notebook(tmp_path / "00.ipynb")
    found = nbformat.read(store(ran, lesson), as_version=4)
    assert found.cells[0].outputs[0].text == "work/lessons/00: 2"
    stamp = found.metadata[STAMP]
    assert stamp["code"] == code_hash(found) and stamp["versions"]["torch"] and stamp["machine"]


def test_other_code_a_failure_or_an_unfinished_run_is_refused(tmp_path):
    lesson = notebook(tmp_path / "00.ipynb")
    other = notebook(tmp_path / "build" / "00.ipynb", source="1 + 2", outputs=[printed("3")], count=1)
    with pytest.raises(QCourseError, match="ran other code"):
        store(other, lesson)
    with pytest.raises(QCourseError, match="was not run to its end"):
        store(notebook(tmp_path / "build" / "01.ipynb"), lesson)
    failure = nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[])
    with pytest.raises(QCourseError, match="was not run to its end"):
        store(notebook(tmp_path / "build" / "02.ipynb", outputs=[failure], count=1), lesson)
    assert not nbformat.read(lesson, as_version=4).cells[0].outputs


def test_deriving_keeps_outputs_of_unchanged_cells_and_drops_others(tmp_path):
    folder = tmp_path / "notebooks"
    notebook(folder / "solutions" / "00_a.ipynb")
    (lesson,) = derive(tmp_path)
    code = nbformat.read(lesson, as_version=4).cells
    executed = nbformat.v4.new_notebook(cells=code)
    for cell in executed.cells:
        cell.outputs, cell.execution_count = [printed("2")], 1
    nbformat.write(executed, tmp_path / "ran.ipynb")
    store(tmp_path / "ran.ipynb", lesson)
    assert derive(tmp_path) == [] and STAMP in nbformat.read(lesson, as_version=4).metadata
    solution = nbformat.read(folder / "solutions" / "00_a.ipynb", as_version=4)
    next(cell for cell in solution.cells if cell.id == "a").source = "1 + 2"
    nbformat.write(solution, folder / "solutions" / "00_a.ipynb")
    assert derive(tmp_path) == [lesson]
    found = nbformat.read(lesson, as_version=4)
    assert STAMP not in found.metadata and not any(cell.get("outputs") for cell in found.cells)


def test_a_solution_holds_outputs_of_its_own_until_its_code_changes(tmp_path, monkeypatch):
    solution = notebook(tmp_path / "notebooks" / "solutions" / "00_a.ipynb")
    (lesson,) = derive(tmp_path)
    ran = nbformat.read(solution, as_version=4)
    for cell in ran.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [printed("2")], 1
    (tmp_path / "built" / "solutions").mkdir(parents=True)
    nbformat.write(ran, tmp_path / "built" / "solutions" / "00_a.ipynb")
    monkeypatch.setattr(stored_outputs, "repository", lambda: tmp_path)
    monkeypatch.setattr("sys.argv", ["stored_outputs", str(tmp_path / "built")])
    stored_outputs.main()
    derive(tmp_path)
    assert code_of(solution)[0].outputs and all(cell.execution_count for cell in code_of(solution))
    assert not any(cell.outputs for cell in code_of(lesson))
    ran = nbformat.read(solution, as_version=4)
    next(cell for cell in ran.cells if cell.id == "a").source = "1 + 2"
    nbformat.write(ran, solution)
    derive(tmp_path)
    assert STAMP not in nbformat.read(solution, as_version=4).metadata
    assert not any(cell.outputs for cell in code_of(solution))
