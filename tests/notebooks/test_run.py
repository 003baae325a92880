"""Every notebook is executed by a real kernel: on pico, and on a small Qwen2-style model."""

import os

import nbformat
import pytest

from qcourse.common import data_folder
from qcourse.course.execute import run_cells
from tests.notebooks.peak import BINDER, PeakMemory
from tests.notebooks.test_rules import FOLDER, LARGEST, LESSONS, MACHINE_PATH
from tests.small_models import write_small_model

pytestmark = pytest.mark.slow
PICO = data_folder() / "pico" / "model.safetensors"


def execute(path, target, monkeypatch, model: str = "") -> nbformat.NotebookNode:
    """Return the executed copy; fails with the notebook's own error, and where Binder's memory would end."""
    monkeypatch.delenv("QCOURSE_MODEL", raising=False)
    if model:
        monkeypatch.setenv("QCOURSE_MODEL", model)
    with PeakMemory() as peak:
        error = run_cells(path, target / path.name, target / "home")
    assert error == ""
    assert peak.bytes < BINDER, f"{path.name} takes {peak.bytes / 1e9:.2f} GB of Binder's {BINDER / 1e9:.0f}"
    return nbformat.read(target / path.name, as_version=4)


def printed(notebook: nbformat.NotebookNode) -> str:
    """Return all text that the cells printed or showed."""
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            parts += [output.get("text", "")] + [str(value) for value in output.get("data", {}).values()]
    return "\n".join(parts)


def assert_clean(notebook: nbformat.NotebookNode, target) -> None:
    """No error output outside cells that announce one, small, and nothing of this machine shown."""
    for cell in notebook.cells:
        if cell.cell_type != "code" or "raises-exception" in cell.metadata.get("tags", []):
            continue
        assert not [output for output in cell.outputs if output.output_type == "error"]
        assert cell.execution_count is not None
    assert len(nbformat.writes(notebook)) < LARGEST
    found = MACHINE_PATH.search(printed(notebook).replace(str(target), ""))
    assert not found, found


@pytest.mark.skipif(not PICO.exists(), reason="data/pico holds no weights yet")
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_on_pico(path, tmp_path, monkeypatch):
    notebook = execute(path, tmp_path, monkeypatch)
    assert_clean(notebook, tmp_path)
    shown = printed(notebook)
    assert "not tried" in shown and "no prediction entered" in shown


@pytest.fixture(scope="session")
def qwen2(tmp_path_factory):
    """Return a Qwen2-style folder: another vocabulary, q/k/v biases, no chat template."""
    return write_small_model(tmp_path_factory.mktemp("models") / "small-qwen2", "qwen2")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_on_another_model(path, qwen2, tmp_path, monkeypatch):
    notebook = execute(path, tmp_path, monkeypatch, str(qwen2))
    shown = printed(notebook)
    assert "small-qwen2" in shown
    if path.name.startswith("01"):
        assert "not applicable" in shown


@pytest.mark.parametrize(
    "path", [path for path in LESSONS if path.name[:2] in ("00", "06")], ids=lambda path: path.stem
)
def test_the_solutions_pass_their_checks(path, qwen2, tmp_path, monkeypatch):
    notebook = execute(FOLDER / "solutions" / path.name, tmp_path, monkeypatch, str(qwen2))
    assert "not tried" not in printed(notebook) and " passed:" in printed(notebook)


def test_a_time_limit_of_a_cell_is_an_error(tmp_path, monkeypatch):
    from qcourse.course import execute as execution

    monkeypatch.setattr(execution, "CELL_SECONDS", 1)
    source = tmp_path / "slow.ipynb"
    cell = nbformat.v4.new_code_cell("import time; time.sleep(30)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), source)
    assert "Timeout" in run_cells(source, tmp_path / "out.ipynb", tmp_path / "home")
    assert os.path.exists(tmp_path / "out.ipynb")
