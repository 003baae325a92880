"""One configured address makes the links to Colab and Binder and the cell that fetches the course."""

import nbformat
import pytest

from qcourse.course import colab
from qcourse.course.lesson_from_solution import derive
from qcourse.course.stored_outputs import STAMP, code_hash, store

GITHUB = "https://github.com/someone/quantization"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one lesson with stored outputs, and a function that configures its address."""
    folder = tmp_path / "notebooks" / "solutions"
    folder.mkdir(parents=True)
    cells = [nbformat.v4.new_markdown_cell("# 00 Title\nWhat it is."), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "00_a.ipynb")
    (tmp_path / "README.md").write_text("# Course\n\nText.\n")
    monkeypatch.setattr(colab, "address", lambda: "")
    (lesson,) = derive(tmp_path)
    executed = nbformat.read(lesson, as_version=4)
    for cell in executed.cells[1:]:
        cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="2")], 1
    nbformat.write(executed, tmp_path / "ran.ipynb")
    store(tmp_path / "ran.ipynb", lesson)

    def configure(address):
        monkeypatch.setattr(colab, "address", lambda: address)
        derive(tmp_path)
        return nbformat.read(lesson, as_version=4), (tmp_path / "README.md").read_text()

    return configure


def test_an_address_reaches_lessons_and_readme_and_no_output_is_lost(course):
    lesson, readme = course(GITHUB)
    place = "someone/quantization/blob/main/notebooks/00_a.ipynb"
    assert lesson.cells[0].source.startswith(
        f"# 00 Title\nOpen it in [Colab](https://colab.research.google.com/github/{place})"
    )
    assert (
        "https://mybinder.org/v2/gh/someone/quantization/HEAD?labpath=notebooks%2F00_a.ipynb"
        in lesson.cells[0].source
    )
    assert lesson.cells[0].source.endswith("\n\nWhat it is.") and readme.endswith("\n\nText.\n")
    assert readme.startswith("# Course\nOpen it in [Colab](") and "00_setup.ipynb" in readme
    assert f'or "{GITHUB}"' in lesson.cells[1].source and "input(" not in lesson.cells[1].source
    assert lesson.cells[2].outputs and lesson.metadata[STAMP]["code"] == code_hash(lesson)


def test_another_address_replaces_the_first_and_none_takes_it_back(course):
    before = course("")
    course(GITHUB)
    lesson, readme = course("https://git.example.org/x/y")
    assert "someone" not in lesson.cells[0].source + lesson.cells[1].source + readme
    assert "Colab" not in lesson.cells[0].source
    assert "mybinder.org/v2/git/https%3A%2F%2Fgit.example.org%2Fx%2Fy/HEAD" in readme
    lesson, readme = course("")
    assert lesson.cells[0].source.split() == before[0].cells[0].source.split()
    assert lesson.cells[1:] == before[0].cells[1:] and "input(" in lesson.cells[1].source
    assert readme == "# Course\n\nText.\n"
