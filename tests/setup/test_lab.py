"""make lab: the learner's copies are made once and never written again."""

import pytest

from qcourse.cli import lab
from qcourse.common import QCourseError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A repository with two lessons, and a learner's folder elsewhere."""
    (tmp_path / "checkout" / "notebooks" / "solutions").mkdir(parents=True)
    for name in ("00_setup", "01_baseline"):
        (tmp_path / "checkout" / "notebooks" / f"{name}.ipynb").write_text("first version")
    monkeypatch.setattr(lab, "repository", lambda: tmp_path / "checkout")
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "mine"))
    return tmp_path / "mine"


def test_what_a_learner_wrote_survives_an_update(home, tmp_path):
    assert lab.prepare() == home and len(list(home.iterdir())) == 2
    (home / "00_setup.ipynb").write_text("my answers")
    (tmp_path / "checkout" / "notebooks" / "01_baseline.ipynb").write_text("second version")
    (tmp_path / "checkout" / "notebooks" / "02_rounding.ipynb").write_text("new lesson")
    lab.prepare()
    texts = {path.stem: path.read_text() for path in home.iterdir()}
    assert texts == {"00_setup": "my answers", "01_baseline": "first version", "02_rounding": "new lesson"}


def test_a_place_that_cannot_be_written_is_a_sentence(home, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lab.Path, "mkdir", refuse)
    with pytest.raises(QCourseError, match="set QCOURSE_HOME to a folder of yours"):
        lab.prepare()


def test_an_interrupted_copy_leaves_nothing_and_is_made_again(home, monkeypatch):
    def half(source, target):
        lab.Path(target).write_text("first ver")
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(lab.shutil, "copyfile", half)
        lab.prepare()
    assert list(home.iterdir()) == []
    lab.prepare()
    assert {path.read_text() for path in home.iterdir()} == {"first version"}
