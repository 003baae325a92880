"""The kept rows of pico and of real models side by side."""

import json
import re

import pytest

from qcourse.common import QCourseError, data_folder
from qcourse.course import real_model
from qcourse.measure import scoreboard
from tests.notebooks.test_rules import LESSONS


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A data folder with pico's kept rows, and the same as those of a model of another name."""
    lines = (data_folder() / "reference" / "scoreboard.jsonl").read_text().splitlines()
    other = [json.loads(line) | {"kl_mean": 0.25, "date": "2026-01-02T00:00:00+00:00"} for line in lines]
    (tmp_path / "reference" / "other-1b").mkdir(parents=True)
    (tmp_path / "reference" / "scoreboard.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "reference" / "other-1b" / "scoreboard.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in other)
    )
    monkeypatch.setattr(scoreboard, "data_folder", lambda: tmp_path)
    return lines


def test_the_rows_of_a_lane_stand_together_with_their_model_and_its_date(kept, capsys):
    real_model.compare("nf4", "rtn")
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines() if " in transformers" in line]
    assert [(row[0], row[3]) for row in rows] == [
        ("nf4", "pico"), ("nf4", "other-1b"), ("rtn", "pico"), ("rtn", "other-1b"),
    ]  # fmt: skip
    assert all(("0.25" in row) == ("other-1b" in row) for row in rows)
    assert re.search(r"^other-1b: 2026-01-02, ", shown, re.M) and shown.count("\npico: ") == 1


def test_a_lane_that_nobody_measured_is_named(kept):
    with pytest.raises(QCourseError, match="no kept row of a lane 'gptp'; there are autoawq, "):
        real_model.compare("gptq", "gptp")


def test_every_lane_that_a_lesson_shows_has_rows(capsys):
    asked = [
        re.findall(r"real_model\.compare\((.*?)\)", path.read_text().replace('\\"', '"')) for path in LESSONS
    ]
    lanes = {lane for found in asked for call in found for lane in re.findall(r'"([^"]+)"', call)}
    real_model.compare(*sorted(lanes))
    assert capsys.readouterr().out.count("\n") > len(lanes)
