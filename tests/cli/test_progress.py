"""What a learner did is kept as it happens, and told by lesson."""

import json

import pytest

from qcourse.course.check import check, find, identifiers
from qcourse.course.predictions import Predictions


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    return tmp_path


def lesson(cli, name):
    """Return the row of one lesson."""
    return next(row for row in json.loads(cli("progress", "--json").out) if row["lesson"] == name)


def test_a_new_learner_has_every_exercise_open(home, cli):
    rows = json.loads(cli("progress", "--json").out)
    assert sum((row["open"] for row in rows), []) == identifiers()
    assert not any(row["passed"] or row["predictions"] for row in rows)
    assert (
        cli("progress").out.splitlines()[6] == f"06  0 of {len(lesson(cli, '06')['open'])} exercises passed"
    )


def test_a_prediction_stands_beside_its_measurement(home, cli):
    predict = Predictions()
    predict("06.kl_ratio", "How large?", value=0.5)
    assert lesson(cli, "06")["predictions"][0]["measured"] is None
    predict.compare("06.kl_ratio", 0.25)
    assert lesson(cli, "06")["predictions"] == [
        {"id": "06.kl_ratio", "predicted": 0.5, "measured": 0.25, "ratio": 0.5}
    ]
    assert "06.kl_ratio: predicted 0.5, measured 0.25, 0.5 times the prediction" in cli("progress").out


def test_a_passed_exercise_is_kept_and_a_wrong_answer_is_not(home, cli):
    exercise = find("06.feed_back")
    check("06.feed_back", exercise.misconceptions[0].wrong)
    assert lesson(cli, "06")["passed"] == []
    check("06.feed_back", exercise.reference)
    check("06.feed_back", exercise.misconceptions[0].wrong)  # trying on takes nothing away
    row = lesson(cli, "06")
    assert row["passed"] == ["06.feed_back"] and "06.feed_back" not in row["open"]
    Predictions()("06.kl_ratio", "How large?", value=2)
    assert lesson(cli, "06")["passed"] == ["06.feed_back"]


def test_a_damaged_or_foreign_file_is_an_empty_one(home, cli):
    for text in ("{not json", "[1]", '{"06.kl_ratio": 0.5}'):
        (home / "predictions.json").write_text(text)
        assert lesson(cli, "06")["predictions"] == []


def test_an_exercise_passes_where_nothing_can_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "file"))
    check("06.feed_back", find("06.feed_back").reference)
    shown = capsys.readouterr().out
    assert "passed" in shown and "cannot be written" in shown
