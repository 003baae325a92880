"""pico-2's questions: frozen, and of none does an answer or a paragraph come up in training."""

import hashlib
import random

import pytest

from qcourse.common import data_folder
from qcourse.pico.curriculum import batch_at, stages
from qcourse.pico.questions import PHRASINGS, draw
from qcourse.pico.source import QUESTIONS
from qcourse.skills import SKILLS, Item, facts
from qcourse.skills.frozen import GENERATORS
from qcourse.skills.prose import read_rows

FROZEN = "c18d76634cc520436240345dc5d342b4a7452f6519221ad87504a46ac28862c9"


def asked(skill: str) -> list[Item]:
    """Return the frozen questions of a skill."""
    return [Item(**row) for row in read_rows(QUESTIONS / f"{skill}.jsonl")]


def test_the_questions_are_the_ones_written_before_training():
    found = hashlib.sha256(
        b"".join((QUESTIONS / f"{name}.jsonl").read_bytes() for name in (*SKILLS, "prose"))
    )
    assert found.hexdigest() == FROZEN


@pytest.mark.parametrize("skill", GENERATORS)
def test_they_are_drawn_as_the_code_says_and_are_not_pico_1s(skill):
    questions = asked(skill)
    assert len({item.prompt for item in questions}) == 200
    assert questions == draw(skill, None, [])
    old = {row["prompt"] for row in read_rows(data_folder() / "eval" / f"{skill}.jsonl")}
    assert skill == "refusal" or not old & {item.prompt for item in questions}


@pytest.mark.parametrize("skill", GENERATORS)
def test_training_never_draws_their_keys(skill):
    keys = {item.key for item in asked(skill)}
    chooser = random.Random(5)
    assert all(GENERATORS[skill](chooser, "train").key not in keys for _ in range(3000))


def test_their_phrasings_of_the_facts_are_new():
    assert not set(PHRASINGS) & {*facts.TRAINED, *facts.UNSEEN}


def test_no_question_occurs_in_the_rows_of_training(source):
    prompts = {item.prompt for skill in GENERATORS for item in asked(skill)}
    pairs = {f"The pair is {item.key}." for item in asked("recall")}
    seen = set()
    for stage in stages():
        for step in range(12):
            for row in batch_at(stage, step, source).ids.tolist():
                turns = source.tokenizer.decode(row, skip_special_tokens=False).split("<|im_start|>")
                seen |= {turn.removeprefix("user\n").split("<|im_end|>")[0] for turn in turns}
    assert len(seen) > 500
    assert not prompts & seen
    assert not any(pair in turn for turn in seen for pair in pairs)
