"""The new skill: exact words, disjoint splits."""

import pytest

from qcourse.skills import units


def test_numbers_in_words():
    words = [units.in_words(number) for number in (1, 13, 20, 42, 99)]
    assert words == ["one", "thirteen", "twenty", "forty-two", "ninety-nine"]
    assert len({units.in_words(n) for n in range(1, 100)}) == 99
    for outside in (0, 100):
        with pytest.raises(ValueError, match="1 to 99"):
            units.in_words(outside)


def test_splits_are_disjoint_and_cover_everything():
    train, held_out = units.items("train"), units.items("eval")
    assert not {i.question for i in train} & {i.question for i in held_out}
    assert len(train) + len(held_out) == 99 * len(units.CONVERSIONS)
    assert units.items("train", 5) == train[:5]
    with pytest.raises(ValueError, match="split"):
        units.items("test")


def test_an_answer_is_the_ground_truth():
    first = units.item(42, ("km", "metres", "thousand"))
    assert first.question == "Convert 42 km to metres, in words."
    assert first.answer == "forty-two thousand metres"
