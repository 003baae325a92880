"""Every exercise accepts its reference and meets each known misconception with its own hint."""

import pytest

from qcourse.common import QCourseError
from qcourse.course.check import check, examine, find, identifiers

PAIRS = [(name, known.name) for name in identifiers() for known in find(name).misconceptions]


def named(identifier: str, misconception: str):
    return next(known for known in find(identifier).misconceptions if known.name == misconception)


@pytest.mark.parametrize("identifier", identifiers())
def test_reference_passes(identifier):
    exercise = find(identifier)
    assert examine(exercise, exercise.reference).state == "passed"


@pytest.mark.parametrize(("identifier", "misconception"), PAIRS)
def test_each_misconception_gets_its_own_hint(identifier, misconception):
    known = named(identifier, misconception)
    verdict = examine(find(identifier), known.wrong)
    assert (verdict.state, verdict.misconception, verdict.message) == ("failed", known.name, known.hint)


@pytest.mark.parametrize("identifier", identifiers())
def test_untouched_stubs_are_not_tried(identifier, capsys):
    def stub(*arguments):
        raise NotImplementedError

    assert examine(find(identifier), stub).state == "not tried"
    assert examine(find(identifier), lambda *arguments: ...).state == "not tried"
    check(identifier, stub)
    assert "not tried" in capsys.readouterr().out


@pytest.mark.parametrize("identifier", identifiers())
def test_a_raising_or_constant_answer_fails_with_a_message(identifier):
    def raising(*arguments):
        raise IndexError("list index out of range")

    verdict = examine(find(identifier), raising)
    assert verdict.state == "failed" and "IndexError" in verdict.message
    assert examine(find(identifier), lambda *arguments: 12345.678).state == "failed"
    assert examine(find(identifier), lambda *arguments: "a text").state == "failed"


def test_a_new_mistake_shows_yours_and_expected():
    exercise = find("02.round_group")
    verdict = examine(exercise, lambda group, bits: exercise.reference(group, bits) + 0.01)
    assert verdict.state == "failed" and verdict.misconception is None and "expected" in verdict.message


def test_a_function_that_changes_its_arguments_is_judged_by_its_answers():
    exercise = find("02.round_group")

    def in_place(group, bits):
        answer = exercise.reference(group, bits)
        group.zero_()
        return answer

    assert examine(exercise, in_place).state == "passed"


def test_unknown_exercise_is_named():
    with pytest.raises(QCourseError, match="06.feed_back"):
        find("06.nothing")
