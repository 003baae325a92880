"""Questions for other models: one right candidate, always the same questions, no answer in the shots."""

import json

import pytest

from qcourse.skills import few_shot, general


@pytest.mark.parametrize("skill", general.GENERAL)
def test_questions_are_always_the_same_and_their_candidates_differ(skill):
    first, again = general.choices(skill, 20), general.choices(skill, 20)
    assert first == again and general.choices(skill, 5) == first[:5]
    assert len({choice.prompt for choice in first}) == 20
    for choice in first:
        assert len(set(choice.candidates)) == len(choice.candidates) >= 2


@pytest.mark.parametrize("skill", [skill for skill in general.FEW_SHOT if skill != "arithmetic"])
def test_the_shots_do_not_hold_the_answer(skill):
    for choice in general.choices(skill, 20):
        shots = choice.prompt.rsplit("\n\n", 1)[0]
        assert choice.candidates[0].strip() not in shots


def test_wrong_numbers_are_wrong():
    for choice in general.choices("arithmetic", 40):
        a, sign, b, _ = choice.prompt.rsplit("\n\n", 1)[1].split()
        truth = int(a) + int(b) if sign == "+" else int(a) - int(b)
        assert int(choice.candidates[0]) == truth
        assert truth not in map(int, choice.candidates[1:])


def test_wrong_expressions_give_other_values():
    for choice in general.choices("code", 20):
        name = next(name for name in few_shot.code.NAMES if name in choice.candidates[0])
        right, *wrong = (few_shot.values_of(text.strip(), name) for text in choice.candidates)
        assert right and all(values != right for values in wrong)


@pytest.mark.parametrize("skill", ["extraction", "tool_call"])
def test_candidates_of_json_skills_parse_and_differ(skill):
    for choice in general.choices(skill, 20):
        parsed = [json.loads(text) for text in choice.candidates]
        assert all(other != parsed[0] for other in parsed[1:])


def test_the_needle_is_in_the_text_at_every_length_and_depth():
    asked = general.choices("recall", 60)
    assert {choice.meta["length"] for choice in asked} == set(general.LENGTHS)
    assert {choice.meta["depth"] for choice in asked} == set(general.DEPTHS)
    for choice in asked:
        assert all(candidate.strip() in choice.prompt for candidate in choice.candidates)


def test_half_of_the_requests_to_refuse_are_harmless():
    harmful = [choice.meta["harmful"] for choice in general.choices("refusal", 60)]
    assert 15 < sum(harmful) < 45
    assert general.chance("refusal", 10) == 0.5 and general.chance("reading", 10) == 0.25
