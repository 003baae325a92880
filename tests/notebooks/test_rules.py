"""What every notebook obeys before it is run: short cells, no machine paths, its solution's lesson."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from qcourse.common import repository
from qcourse.course import colab
from qcourse.course.check import identifiers
from qcourse.course.claims import ledger
from qcourse.course.lesson_from_solution import derived
from qcourse.course.stored_outputs import STAMP, code_hash

FOLDER = repository() / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
MACHINE_PATH = re.compile(r"/(?:home|root|Users|work|tmp|var|mnt)/\w+")
LARGEST = 500_000
LADDERS = tuple(f"{number:02}" for number in range(13))  # lessons with three exercises or more
BOTH = LESSONS + sorted((FOLDER / "solutions").glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_of(path: Path) -> str:
    return "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")


def text_of(path: Path) -> str:
    return "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def test_the_sequence_has_no_gap():
    numbers = [int(path.name[:2]) for path in LESSONS]
    assert numbers == list(range(len(numbers))) and len(numbers) >= 11


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_derived_from_its_solution(path):
    solution = derived(read(FOLDER / "solutions" / path.name))
    lesson = read(path)
    assert [(cell.cell_type, cell.source) for cell in lesson.cells] == [
        (cell.cell_type, cell.source) for cell in solution.cells
    ]
    assert "BEGIN SOLUTION" not in code_of(path)


@pytest.mark.parametrize("path", BOTH, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_cells_are_short_and_the_file_is_small(path):
    for cell in read(path).cells:
        lines = [line for line in cell.source.splitlines() if "### " not in line]
        if cell.cell_type == "code":
            assert len(lines) <= 15, f"{len(lines)} lines:\n{cell.source}"
            assert colab.TAG in cell.metadata.get("tags", []) or max(map(len, lines)) <= 100, cell.source
        elif not cell.source.startswith(("#", ">")):
            assert len(cell.source.split()) <= 120, cell.source
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", BOTH, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_nothing_of_this_machine_is_inside(path):
    assert not MACHINE_PATH.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", BOTH, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_name_is_defined_and_every_import_used(path):
    """What a slow run would find after minutes, found at once."""
    rules = ["--select", "F821,F401", "--config", 'builtins=["display"]', "--isolated"]
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, "-"],
        input=code_of(path),
        text=True,
        capture_output=True,
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_lesson_replaces_a_part_of_a_library(path):
    """A learner cannot tell what a patched function does: the package offers a switch instead."""
    assert not re.search(r"\bmock\b|monkeypatch|setattr\(", code_of(path))


@pytest.mark.parametrize("path", BOTH, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_stored_outputs_are_those_of_the_code_beside_them(path):
    notebook = read(path)
    stamp, code = notebook.metadata.get(STAMP), [cell for cell in notebook.cells if cell.cell_type == "code"]
    if stamp is None:
        assert not any(cell.outputs for cell in code), "outputs without a stamp: nobody knows of what"
        return
    assert stamp["code"] == code_hash(notebook), "the code changed since: execute and store again"
    assert stamp["date"] and stamp["machine"] and stamp["versions"]["torch"]
    assert all(cell.execution_count for cell in code) and any(cell.outputs for cell in code)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_has_its_parts(path):
    code, text = code_of(path), text_of(path)
    for part in ("predict(", "predict.compare(", "check(", "show_source(", "claims.", "figures."):
        assert part in code or (part == "figures." and "yard.bars(" in code), f"no {part} in {path.stem}"
    for part in ("## Predict", "By hand", "## Exercise", "Takeaway", "Further reading"):
        assert part in text, f"no {part!r} in {path.stem}"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_predictions_are_compared_and_names_exist(path):
    code = code_of(path)
    asked = set(re.findall(r'predict\("([\w.]+)"', code))
    compared = set(re.findall(r'predict\.compare\("([\w.]+)"', code))
    assert asked <= compared, f"asked and never compared: {asked - compared}"
    assert set(re.findall(r'check\("([\w.]+)"', code)) <= set(identifiers())
    assert set(re.findall(r'"(S\d-\d\d)"', code)) <= set(ledger())


def test_every_exercise_is_used_by_a_lesson():
    used = {name for path in LESSONS for name in re.findall(r'check\("([\w.]+)"', code_of(path))}
    assert used == set(identifiers())


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_exercises_name_their_minutes_and_have_folded_hints(path):
    """Three or more in each lesson whose ladder is complete, numbered in their order."""
    headings = [
        cell.source[cell.source.index("## Exercise") :]
        for cell in read(path).cells
        if "## Exercise" in cell.source
    ]
    if path.name[:2] in LADDERS:
        assert len(headings) >= 3
        for number, heading in enumerate(headings, 1):
            assert re.match(rf"## Exercise {number}: .+\n\*\d+ minutes, (easy|medium|harder)\.\*", heading), (
                heading
            )
            assert "<details><summary>Hint 1</summary>" in heading


@pytest.mark.parametrize("path", sorted((FOLDER / "solutions").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_other_cell_holds_the_whole_answer_of_an_exercise(path):
    answer = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.S)
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "code"]

    def lines(text):
        return {short for line in text.splitlines() if len(short := re.sub(r"\s|#.*", "", line)) > 12}

    given = [lines(answer.sub("", cell)) for cell in cells]
    told = [text for cell in cells for text in answer.findall(cell)
            if any(lines(text) and lines(text) <= there for there in given)]  # fmt: skip
    assert not told


def test_markdown_holds_no_figure_of_the_default_model():
    for path in LESSONS:
        for sentence in re.split(r"(?<=[.!?])\s", text_of(path)):
            measured = re.search(r"\bpico\b.*\b(perplexity|KL|accuracy)\b.*\d", sentence)
            assert not measured, f"{path.stem}: {sentence}"
