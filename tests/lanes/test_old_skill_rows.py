"""What is replayed while a skill is taught: training items and training prose, nothing that judges."""

from types import SimpleNamespace

from qcourse import skills
from qcourse.common import data_folder
from qcourse.lanes import old_skill_rows


def test_no_evaluation_item_is_trained_on():
    for skill in skills.SKILLS:
        asked = {item.prompt for item in skills.items(skill)}
        drawn = old_skill_rows.training_items(skill, 60)
        assert len(drawn) == 60 and not asked & {item.prompt for item in drawn}
        if skill != "facts":  # facts are asked in unseen words; the facts themselves are the same
            assert not {item.key for item in skills.items(skill)} & {item.key for item in drawn}
    assert not set(skills.prose("eval")) & set(skills.prose("calibration"))


def test_rows_of_what_the_model_was_taught():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(data_folder() / "pico")
    own = old_skill_rows.rows(SimpleNamespace(name="pico", tokenizer=tokenizer), 4, 10)
    other = old_skill_rows.rows(SimpleNamespace(name="other", tokenizer=tokenizer), 4, 10)
    extra = 4 * (old_skill_rows.OFTENER["arithmetic"] - 1)
    assert len(own) == 4 * len(skills.SKILLS) + extra + 10
    assert len(other) == 4 * len(skills.applicable("other")) + extra + 10
    assert all(1 < len(row.ids) <= old_skill_rows.PROSE_LENGTH for row in own[-10:])
    assert old_skill_rows.rows(SimpleNamespace(name="pico", tokenizer=tokenizer), 4, 10) == own
