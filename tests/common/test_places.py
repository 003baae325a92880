"""Where rows, reports and artefacts go: QCOURSE_HOME moves what is one's own, and only that."""

import pytest

from qcourse.common import cache_folder, places, results_folder, shared_folder


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout elsewhere, without QCOURSE_HOME and QCOURSE_CACHE."""
    monkeypatch.setattr(places, "repository", lambda: tmp_path / "checkout")
    (tmp_path / "checkout").mkdir()
    for name in ("QCOURSE_HOME", "QCOURSE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "checkout"


def test_without_a_home_everything_is_in_build(checkout):
    assert results_folder() == shared_folder() == checkout / "build" == cache_folder().parent


def test_work_in_the_checkout_is_the_usual_home(checkout, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(checkout / "work"))
    assert results_folder() == checkout / "build"


def test_a_home_moves_results_and_leaves_what_is_shared(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "mine"))
    assert results_folder() == tmp_path / "mine" / "build"
    assert shared_folder() == checkout / "build" and cache_folder() == checkout / "build" / "cache"


def test_a_checkout_that_cannot_be_written_leaves_all_to_the_home(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "mine"))
    monkeypatch.setattr(places.os, "access", lambda *_: False)
    assert shared_folder() == results_folder() == tmp_path / "mine" / "build"


def test_rows_reports_and_figures_go_to_the_home(monkeypatch, tmp_path):
    from qcourse.course import execute, report, runner
    from qcourse.lanes import measure_lanes
    from qcourse.pipeline.sweep import Sweep

    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    written = {}
    monkeypatch.setattr(runner, "run_notebooks", lambda paths, folder: written.update(lessons=folder) or [])
    monkeypatch.setattr(report, "write_report", lambda build, *_: written.update(report=build))
    runner.run(["00"])
    assert written == {"lessons": tmp_path / "build" / "notebooks", "report": tmp_path / "build"}
    assert execute.notebooks(["00"])
    assert measure_lanes.scoreboard_file() == tmp_path / "build" / "scoreboard.jsonl"
    assert Sweep([]).scoreboard == tmp_path / "build" / "sweep.jsonl"
