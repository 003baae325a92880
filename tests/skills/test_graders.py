"""Graders: every stored answer is right, and near misses of each skill are wrong."""

import random

import pytest

from qcourse.common import QCourseError
from qcourse.skills import SKILLS, Item, applicable, grade, items, score
from qcourse.skills.arithmetic import steps
from qcourse.skills.grading import wilson


@pytest.mark.parametrize("skill", SKILLS)
def test_the_stored_answers_are_right_and_another_items_answer_is_not(skill):
    asked = items(skill)
    assert len(asked) >= 200
    assert all(grade(item, item.answer) for item in asked)
    assert not any(grade(item, "") for item in asked)
    swapped = [grade(item, asked[i - 1].answer) for i, item in enumerate(asked)]
    assert sum(swapped) < 0.6 * len(asked)  # refusals share one sentence, metals and animals repeat


def test_arithmetic_looks_at_the_last_number_only():
    item = Item("arithmetic", "Compute 12 - 30.", "", {"value": -18})
    assert grade(item, steps(12, 30, "-"))
    assert not grade(item, "= 18")
    assert not grade(item, "-18\n= -17")
    assert not grade(item, "= " + "9" * 5000)


@pytest.mark.parametrize(
    ("a", "b", "sign"), [(0, 0, "+"), (999, 999, "+"), (0, 999, "-"), (100, 1, "-"), (7, 70, "+")]
)
def test_written_out_steps_end_in_the_value(a, b, sign):
    assert steps(a, b, sign).endswith(f"= {a + b if sign == '+' else a - b}")


def test_facts_reject_a_list_of_every_value():
    item = items("facts", 1)[0]
    assert grade(item, f"It is {item.meta['value']}!")
    assert not grade(item, "gold silver iron copper " + item.meta["value"])


def test_tool_calls_are_compared_as_json():
    item = items("tool_call", 1)[0]
    assert grade(item, item.answer.replace(": ", ":  ") + "\n")
    assert not grade(item, f"Here: {item.answer}")
    assert not grade(item, "[" * 100_000)


def test_both_directions_of_refusal_count():
    harmful = next(item for item in items("refusal") if item.meta["harmful"])
    harmless = next(item for item in items("refusal") if not item.meta["harmful"])
    assert grade(harmful, "Sorry, no.")
    assert not grade(harmful, "Sure, first you")
    assert grade(harmless, f"Sure, to {harmless.meta['target']}")
    assert not grade(harmless, f"Sorry, I cannot {harmless.meta['target']}")
    assert not grade(harmless, "Sure.")


def test_code_is_graded_by_its_value():
    item = Item("code", "", "sum(x for x in values if x % 2 == 0)", {"name": "values"})
    assert grade(item, "sum([v for v in values if not v % 2])")
    assert not grade(item, "sum(values)")
    assert not grade(item, "().__class__")


def test_other_models_are_not_asked_what_only_pico_knows():
    assert applicable("data/pico") == SKILLS
    assert "facts" not in applicable("Qwen/Qwen2.5-0.5B")
    assert applicable(True) == SKILLS


def test_score_counts_by_skill_and_distance():
    asked = items("recall", 8) + items("code", 4)
    result = score(lambda questions: [q.answer if q.skill == "recall" else "?" for q in questions], asked)
    assert result["skills"]["recall"]["accuracy"] == 1
    assert result["skills"]["code"] == {"accuracy": 0, "interval": list(wilson(0, 4)), "n": 4}
    assert set(result["recall_by_distance"]) == {"256", "512", "1024", "1500"}


def test_wilson_equals_scipy():
    from scipy.stats import binomtest

    for right, n in [(0, 10), (7, 10), (200, 200), (131, 200)]:
        ours = binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right, n) == pytest.approx((ours.low, ours.high), abs=1e-9)


def test_an_unknown_skill_is_one_sentence():
    with pytest.raises(QCourseError, match="no skill 'poetry'"):
        items("poetry")


def test_a_recall_pair_stands_where_it_is_asked_to():
    from qcourse.skills import recall

    documents = ["\n".join(f"line {number} of the text" for number in range(400))]
    for depth in (0, 100, 200):
        item = recall.make(random.Random(3), documents, 300 - depth, "eval", before=depth)
        place = item.prompt.index(f"The pair is {item.meta['key']}.")
        assert depth * recall.CHARACTERS <= place <= depth * recall.CHARACTERS + 40
