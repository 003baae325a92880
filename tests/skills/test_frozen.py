"""The frozen items: regenerated they are the same, and training never draws them."""

import random

import pytest

from qcourse.common import QCourseError, data_folder
from qcourse.skills import SKILLS, items, prose
from qcourse.skills.frozen import GENERATORS, draw_items
from qcourse.skills.prose import held_out
from qcourse.skills.recall import BINS, make


def count_tokens(text: str) -> int:
    """Return the number of pico's tokens in the text."""
    from tokenizers import Tokenizer

    if not hasattr(count_tokens, "tokenizer"):
        count_tokens.tokenizer = Tokenizer.from_file(str(data_folder() / "pico" / "tokenizer.json"))
    return len(count_tokens.tokenizer.encode(text).ids)


@pytest.mark.parametrize("skill", SKILLS)
def test_regenerated_items_are_the_frozen_ones(skill):
    assert draw_items(skill, count_tokens) == items(skill)


@pytest.mark.parametrize("skill", GENERATORS)
def test_training_never_draws_an_evaluation_key(skill):
    frozen = {item.key for item in items(skill)}
    chooser = random.Random(3)
    drawn = [GENERATORS[skill](chooser, "train") for _ in range(3000)]
    assert frozen.isdisjoint(item.key for item in drawn)
    assert {item.prompt for item in items(skill)}.isdisjoint(item.prompt for item in drawn)


def test_training_never_draws_an_evaluation_pair():
    asked = {item.key for item in items("recall")}
    chooser = random.Random(4)
    assert all(make(chooser, ["word " * 200], 100, "train").key not in asked for _ in range(500))


def test_the_facts_are_the_same_in_both_splits():
    from qcourse.skills.facts import atlas

    assert {item.meta["value"] for item in items("facts")} <= set(atlas().values())


def test_recall_distances_lie_in_their_bins():
    lower = dict(zip(BINS, (32, *BINS), strict=False))
    for item in items("recall"):
        after = item.prompt.split(f" {item.meta['key']}.", 1)[1]
        assert lower[item.meta["bin"]] < count_tokens(after) + 12 <= item.meta["bin"]
        assert item.prompt.count(f" {item.meta['value']}") >= 1
        assert item.prompt.count("The pair is") == 4


def test_prose_splits_share_no_document():
    evaluated = {text.strip() for text in prose("eval")}
    assert evaluated.isdisjoint(prose("train"))
    assert evaluated.isdisjoint(prose("calibration"))
    assert not held_out("topics:lambda") or "topics:lambda"


def test_calibration_has_128_rows_of_512_tokens():
    assert sum(count_tokens(text) + 1 for text in prose("calibration")) >= 128 * 512


def test_an_unknown_split_is_one_sentence():
    with pytest.raises(QCourseError, match="no prose split"):
        prose("dev")
