"""pico as a subject: the table of the card follows from its figures, and its statements from the table."""

import json

from qcourse.bench import pico_by_bits
from qcourse.common import content_hash, data_folder

FOLDER = data_folder() / "pico"
FOUND = json.loads((FOLDER / "subject.json").read_text())


def test_the_card_holds_the_measured_table_of_this_model():
    assert FOUND["model_hash"] == content_hash(FOLDER)
    assert FOUND["n_items"] >= 200
    assert (FOLDER / "README.md").read_text().endswith(pico_by_bits.section(FOUND))


def test_losses_are_paired_differences_in_points():
    before = {"code": [True] * 8 + [False] * 2}
    after = {"code": [True] * 5 + [False] * 5}
    row = pico_by_bits.losses(before, after)["code"]
    assert abs(row["loss"] - 30) < 1e-9
    assert row["interval"][0] < 30 < row["interval"][1]
    assert pico_by_bits.losses(before, before)["code"]["loss"] == 0


def test_the_summary_counts_skills():
    accuracy = {"16": {"a": 1.0, "b": 0.8}, "8": {"a": 0.9, "b": 0.8}}
    losses = {"3": {"a": {"loss": 10.0}, "b": {"loss": 2.9}}, "2": {"a": {"loss": 19.9}, "b": {"loss": 20.0}}}
    figures = pico_by_bits.summary({"accuracy": accuracy, "losses": losses})
    assert (
        figures["lose_10_at_3_bits"]
        == figures["lose_less_than_3_at_3_bits"]
        == figures["lose_20_at_2_bits"]
        == 1
    )
    assert abs(figures["kept_at_8_bits"] - 1.7 / 1.8) < 1e-9


def test_gptq_beats_rounding_at_3_bits_beyond_the_interval():
    assert FOUND["gptq_over_rounding"]["interval"][1] < 1


def test_every_skill_is_marked_item_by_item(llama_tied):
    from qcourse import models, skills

    loaded = models.load(llama_tied)
    marks = pico_by_bits.skill_marks(loaded.model, loaded.tokenizer, 1)
    assert set(marks) == set(skills.SKILLS) and all(len(found) == 1 for found in marks.values())
