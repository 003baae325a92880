"""What a room without network is given: wheels for every step, the course with its model, the site."""

import os
import subprocess

import pytest

from qcourse.common import QCourseError, repository
from qcourse.course import bundle, site
from qcourse.setup.environments import steps


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """Return (folder, pip's arguments) of a bundle whose wheels and site are pretended."""
    if not (repository() / ".git").exists():
        pytest.skip("no git checkout")
    asked = []
    page = tmp_path / "built" / "index.html"
    page.parent.mkdir()
    page.write_text("the site")
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(site, "build", lambda: page)
    monkeypatch.setattr(bundle, "pip_wheel", lambda *arguments: asked.append(arguments) or 0)
    return bundle.bundle(), asked


def test_it_holds_lessons_model_site_and_a_wheel_for_every_step(packed):
    folder, asked = packed
    model = folder / "course" / "data" / "pico" / "model.safetensors"
    assert model.read_bytes() == (repository() / "data" / "pico" / "model.safetensors").read_bytes()
    lessons = sorted(path.name for path in (folder / "course" / "notebooks").glob("[0-9]*.ipynb"))
    assert lessons == sorted(path.name for path in (repository() / "notebooks").glob("[0-9]*.ipynb"))
    assert not (folder / "course" / ".venv").exists() and (folder / "course" / "Makefile").exists()
    assert (folder / "site" / "index.html").read_text() == "the site"
    wanted = [step.arguments for step in (*steps("main"), *steps("smollm2")) if step.name != "qcourse"]
    assert [arguments[4:] for arguments in asked] == wanted and len(wanted) >= 6
    assert all(arguments[1] == str(folder / "wheels") for arguments in asked)


def test_it_starts_from_its_own_wheels_and_no_registry(packed, tmp_path):
    folder, _ = packed
    (tmp_path / "bin").mkdir()
    make = tmp_path / "bin" / "make"
    make.write_text('#!/bin/sh\necho "$PIP_NO_INDEX|$PIP_FIND_LINKS|$PWD|$*"\n')
    make.chmod(0o755)
    there = {**os.environ, "PATH": f"{make.parent}:{os.environ['PATH']}"}
    for arguments, target in (((), "lab"), (("main", "smollm2"), "main smollm2")):
        shown = subprocess.check_output([folder / "start.sh", *arguments], env=there, text=True)
        assert shown == f"1|{folder}/wheels|{folder}/course|{target}\n"


def test_a_wheel_that_lessons_need_must_be_there_and_one_that_needs_a_compiler_may_lack(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(bundle, "pip_wheel", lambda *_: 1)
    needed, optional = (
        next(step for step in steps("main") if bool(step.without) is kind) for kind in (False, True)
    )
    with pytest.raises(QCourseError, match="pip ended with code 1"):
        bundle.gather(needed, tmp_path)
    bundle.gather(optional, tmp_path)
    assert f"without {optional.without}" in capsys.readouterr().err
