"""Predictions survive the session, and nothing about them can stop a notebook."""

import json

import pytest

from qcourse.course.predictions import Predictions, parse_number


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    return tmp_path


def test_a_prediction_is_kept_for_another_session(home, capsys):
    Predictions()("06.kl", "How large?", value=0.5)
    another = Predictions()
    another.compare("06.kl", 0.25)
    assert "you predicted 0.5, measured 0.25" in capsys.readouterr().out
    assert json.loads((home / "predictions.json").read_text())["06.kl"]["question"] == "How large?"


def test_nothing_entered_is_said(home, capsys):
    predict = Predictions()
    predict("06.kl", "How large?")
    predict.compare("06.kl", 0.25)
    assert "no prediction entered" in capsys.readouterr().out


def test_what_this_machine_cannot_measure_is_said(home, capsys):
    predict = Predictions()
    predict("09.kv_ratio", "How many times?")
    predict.compare("09.kv_ratio", None)
    predict("09.kv_ratio", "How many times?", value=2)
    predict.compare("09.kv_ratio", None)
    entered, missing = capsys.readouterr().out.splitlines()[-1], "not measured on this machine"
    assert entered == f"you predicted 2; {missing}"


def test_a_zero_prediction_has_no_ratio(home, capsys):
    predict = Predictions()
    predict("01.noise", "How large?", value=0)
    predict.compare("01.noise", 0.25)
    assert "measured / predicted" not in capsys.readouterr().out


def test_a_damaged_file_does_not_stop_anything(home, capsys):
    (home / "predictions.json").write_text("{not json")
    predict = Predictions()
    predict("06.kl", "How large?", value=2)
    assert Predictions().value("06.kl") == 2


def test_a_home_that_cannot_be_written_keeps_the_session(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "file"))
    predict = Predictions()
    predict("06.kl", "How large?", value=3)
    assert predict.value("06.kl") == 3 and "this session only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0,5", 0.5),
        (" 12 ", 12),
        ("3%", 3),
        ("1e-3", 1e-3),
        ("-2", -2),
        ("", None),
        ("about two", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_what_learners_type(text, number):
    assert parse_number(text) == number


def test_the_box_in_a_kernel_stores_what_is_typed(home, monkeypatch, capsys):
    import ipywidgets

    boxes = []
    original = ipywidgets.Text.__init__
    monkeypatch.setattr("qcourse.course.predictions.in_notebook", lambda: True)
    monkeypatch.setattr(
        ipywidgets.Text,
        "__init__",
        lambda self, **options: (original(self, **options), boxes.append(self))[0],
    )
    predict = Predictions()
    predict("06.kl", "How large?")
    assert "Predict: How large?" in capsys.readouterr().out
    boxes[0].value = "no idea"
    assert predict.value("06.kl") is None
    boxes[0].value = "0.75"
    assert Predictions().value("06.kl") == 0.75
