"""pico-2's card: what it says comes from the figures and the log."""

import json

from qcourse.common import data_folder
from qcourse.pico.card import missed
from qcourse.pico.curriculum import stages
from qcourse.pico.model import Shape
from qcourse.pico.readme import model_card, read_log


def test_the_card_states_the_run_the_figures_and_what_was_missed(tmp_path):
    rows = [
        {"parameters": 20_978_176, "device": "cpu", "arithmetic": "float32", "prose_tokens": 8_150_597},
        {"stage": "learn", "step": 1, "tokens": 2_000_000},
        {"stage": "learn", "step": 2, "tokens": 1_500_000},
        {"parameters": 20_978_176, "device": "cpu"},  # the run was started again from step 1
        {"stage": "learn", "step": 2, "tokens": 1_500_000},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = json.loads((data_folder() / "pico" / "metrics.json").read_text())
    card = model_card(figures, read_log(tmp_path), stages(), Shape())
    assert "21.0M parameters" in card and "3.5M tokens on cpu, float32" in card
    assert "| tool_call | 82.0% |" in card and "8,150,597 tokens of documentation" in card
    assert "django 5.2.19 (BSD-3-Clause)" in card
    assert "Held out whole: peewee 4.5.3 (MIT), scrapy 2.19.0 (BSD-3-Clause);" in card
    assert missed(figures) and all(f"- {line}" in card for line in missed(figures))
    assert "{" not in card
