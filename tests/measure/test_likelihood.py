"""Choices by likelihood: the cached path equals the plain one, and what guesses is told from what knows."""

import pytest
import torch
from transformers import AutoTokenizer

from qcourse import measure
from qcourse.common import QCourseError
from qcourse.measure import likelihood
from qcourse.measure.skills import accuracy_or_word
from qcourse.skills import SKILLS, asked_of
from qcourse.skills.general import Choice


class Plain:
    """The same model as a source that reads every row whole."""

    def __init__(self, model):
        self.source = measure.HFSource(model)

    def logits(self, tokens):
        return self.source.logits(tokens)


class Oracle:
    """A source that finds the true continuation likeliest, given the ids of what is true."""

    tokenizer = None

    def __init__(self, truth):
        self.truth = truth

    def logits(self, tokens):
        found = torch.zeros(*tokens.shape, 512)
        for row, ids in enumerate(tokens.tolist()):
            if any(self.follows(ids, truth) for truth in self.truth):
                found[row, range(len(ids) - 1), ids[1:]] = 9.0
        return found

    def follows(self, ids, truth):
        return ids[: len(truth)] == truth or truth[: len(ids)] == ids


@pytest.fixture
def tokenizer(llama_gqa):
    return AutoTokenizer.from_pretrained(llama_gqa)


@pytest.mark.parametrize("shared", [0, 9, 16, 17])
def test_the_cached_path_gives_what_the_plain_one_does(small_model, llama_gqa, shared):
    model, draw = small_model(llama_gqa), torch.Generator().manual_seed(3)
    start = torch.randint(0, 512, (17,), generator=draw).tolist()
    rows = [torch.randint(0, 512, (size,), generator=draw).tolist() for size in (6, 1, 4, 6)]
    plain = likelihood.reader_of(Plain(model), []).log_probabilities(start, rows)
    cached = likelihood.reader_of(measure.HFSource(model), start[:shared])
    for _ in range(2):  # what one question leaves behind must not reach the next
        for found, expected, row in zip(cached.log_probabilities(start, rows), plain, rows, strict=True):
            assert len(found) == len(row) and found == pytest.approx(expected, abs=1e-4)
    single = cached.log_probabilities(start, [row[:1] for row in rows])
    assert [value for (value,) in single] == pytest.approx([row[0] for row in plain], abs=1e-4)


def test_the_mean_per_token_does_not_favour_short_candidates(tokenizer):
    class Falling:
        """Log-probabilities of -2 a token for the first candidate and of -1.9 for the second, longer one."""

        def log_probabilities(self, start, rows):
            return [[-2.0 if index == 0 else -1.9] * len(row) for index, row in enumerate(rows)]

    asked = [Choice("x", "The answer", (" no", " is right and was never wrong"))]
    assert likelihood.chosen(Falling(), tokenizer, asked) == [1]


def test_the_likeliest_candidate_is_chosen_and_the_order_does_not_matter(tokenizer):
    candidates = (" is right", " was wrong", " neither")
    truth = tokenizer("The answer" + candidates[0])["input_ids"]
    for turned in (candidates, candidates[::-1]):
        asked = [Choice("x", "The answer", turned)]
        assert turned[likelihood.chosen(Oracle([truth]), tokenizer, asked)[0]] == candidates[0]


def test_a_choice_no_better_than_guessing_is_no_signal():
    low = accuracy_or_word("choice:reading", measure.share([True] * 8 + [False] * 16), 24)
    assert low == "no signal: 33%, guessing gives 25%"
    assert accuracy_or_word("choice:reading", measure.share([True] * 20 + [False] * 4), 24) == pytest.approx(
        5 / 6
    )
    assert accuracy_or_word("recall", measure.share([False] * 24), 24) == 0.0


def test_pico_is_asked_its_own_skills_and_others_what_they_can_understand():
    assert asked_of("pico") == SKILLS
    other = asked_of("smollm2")
    assert "choice:reading" in other and "choice:refusal" in other and not set(other) & set(SKILLS)
    assert "choice:refusal" not in asked_of("smollm2", chat=False)


def test_a_model_compared_with_itself_has_no_flips(small_model, llama_gqa, tokenizer):
    from qcourse.pipeline.evaluate import flips_of

    model, asked = small_model(llama_gqa), ("choice:copying", "choice:arithmetic")
    pair = [measure.HFSource(model, tokenizer) for _ in range(2)]
    found = flips_of(*pair, asked, 6, tokenizer)
    assert set(found) == set(asked)
    assert all(
        (each["lost"], each["gained"], each["p"], each["n"]) == (0, 0, 1.0, 6) for each in found.values()
    )


def test_choices_need_the_models_tokenizer():
    with pytest.raises(QCourseError, match="give its tokenizer"):
        measure.skill_scores(Oracle([]), ("choice:reading",), 2)
