"""make lab: the learner's copies are made once, without outputs, and never written again."""

import nbformat
import pytest

from qcourse.cli import lab
from qcourse.common import QCourseError


def write(path, source):
    """Write a lesson of one cell that was executed and stamped."""
    printed = nbformat.v4.new_output("stream", text="the result")
    cell = nbformat.v4.new_code_cell(source, outputs=[printed], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"qcourse": {"code": "hash"}}), path)


def texts(folder):
    """Return the first cell of every notebook of a folder by name."""
    return {path.stem: nbformat.read(path, as_version=4).cells[0].source for path in folder.iterdir()}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A repository with two lessons, and a learner's folder elsewhere."""
    (tmp_path / "checkout" / "notebooks" / "solutions").mkdir(parents=True)
    for name in ("00_setup", "01_baseline"):
        write(tmp_path / "checkout" / "notebooks" / f"{name}.ipynb", "first version")
    monkeypatch.setattr(lab, "repository", lambda: tmp_path / "checkout")
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "mine"))
    return tmp_path / "mine"


def test_what_a_learner_wrote_survives_an_update(home, tmp_path):
    assert lab.prepare() == home and len(list(home.iterdir())) == 2
    write(home / "00_setup.ipynb", "my answers")
    mine = (home / "00_setup.ipynb").read_bytes()
    write(tmp_path / "checkout" / "notebooks" / "01_baseline.ipynb", "second version")
    write(tmp_path / "checkout" / "notebooks" / "02_rounding.ipynb", "new lesson")
    lab.prepare()
    assert texts(home) == {
        "00_setup": "my answers",
        "01_baseline": "first version",
        "02_rounding": "new lesson",
    }
    assert (home / "00_setup.ipynb").read_bytes() == mine


def test_a_copy_shows_no_result_before_the_prediction_and_the_lesson_keeps_its_own(home, tmp_path):
    lab.prepare()
    mine = nbformat.read(home / "00_setup.ipynb", as_version=4)
    assert mine.cells[0].outputs == [] and mine.cells[0].execution_count is None
    assert "qcourse" not in mine.metadata
    theirs = nbformat.read(tmp_path / "checkout" / "notebooks" / "00_setup.ipynb", as_version=4)
    assert theirs.cells[0].outputs and theirs.metadata["qcourse"]


def test_a_place_that_cannot_be_written_is_a_sentence(home, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lab.Path, "mkdir", refuse)
    with pytest.raises(QCourseError, match="set QCOURSE_HOME to a folder of yours"):
        lab.prepare()


def test_an_interrupted_copy_leaves_nothing_and_is_made_again(home, monkeypatch):
    def half(notebook, target):
        lab.Path(target).write_text("first ver")
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(lab.nbformat, "write", half)
        lab.prepare()
    assert list(home.iterdir()) == []
    lab.prepare()
    assert set(texts(home).values()) == {"first version"}


def test_jupyterlab_starts_without_its_question_about_news(home, monkeypatch, tmp_path):
    from jupyterlab_server.config import get_page_config

    monkeypatch.setattr(lab.os, "execv", lambda *arguments: None)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path))
    lab.main()
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    disabled = get_page_config([])["disabledExtensions"]
    assert "@jupyterlab/apputils-extension:announcements" in disabled
    assert lab.os.environ["JUPYTER_CONFIG_PATH"].endswith(f":{tmp_path}")
