"""Rows: every field filled, found again by content, never by name."""

from types import SimpleNamespace

import pytest
import torch

from qcourse import measure
from qcourse.measure import NOT_APPLICABLE, EvaluationConfig
from qcourse.measure.cache import cached
from qcourse.skills import SKILLS, applicable

QUICK = EvaluationConfig(prompt_tokens=8, new_tokens=3)


class Recipe:
    """What a row reads of a recipe."""

    def __init__(self, name):
        self.name, self.hash, self.transform, self.method = name, f"hash of {name}", None, "rtn"


def test_row_of_a_model_is_complete(exact, rounded, tokens, small_folder, tmp_path):
    board = tmp_path / "board.jsonl"
    row = measure.noise_row(
        rounded, exact, tokens, artefact=small_folder, config=QUICK, scoreboard=board, progress=False
    )
    assert (row.lane, row.engine, row.dtype, row.bits_per_weight) == ("noise", "transformers", "bfloat16", 16)
    assert row.model_hash == exact.hash[:16]
    assert row.perplexity == pytest.approx(measure.perplexity(rounded, tokens).value)
    assert row.kl_mean == pytest.approx(measure.divergence(exact, rounded, tokens).kl_mean)
    assert set(row.intervals) == {"perplexity", "kl_mean", "kl_p99", "top1_agreement"}
    for name in ("tokens_per_second", "ttft", "decode_tokens_per_second", "peak_memory_bytes", "threads"):
        assert getattr(row, name) > 0
    assert row.versions["torch"] == torch.__version__ and row.machine and row.date
    assert measure.read(board) == [row]


def test_row_comes_from_the_cache_only_for_equal_content(tokens, fixed):
    logits = torch.randn(512, 512, generator=torch.Generator().manual_seed(0))
    base, source = fixed(logits), fixed(logits + 1)

    def run(**changes):
        options = {"tokens": tokens, "recipe": Recipe("rtn-w4g128"), "config": QUICK, "progress": False}
        before = source.asked
        row = measure.evaluate(source, base, **(options | changes))
        return row, source.asked - before

    first, asked = run()
    again, repeated = run()
    assert asked == 1 and repeated == 0 and again == first
    assert run(tokens=tokens.flip(0))[1] == 1
    assert run(recipe=Recipe("rtn-w3g128"))[1] == 1
    spoken = SimpleNamespace(chat_template="{{ messages }}")  # the same tokens, another chat template
    assert run(tokenizer=spoken)[1] == 1 and run(tokenizer=spoken)[1] == 0
    source.hash = "other"
    assert run()[1] == 1


def test_a_source_without_a_hash_is_measured_every_time(tokens, fixed):
    source = fixed(torch.zeros(512, 512))
    source.hash = None
    for _ in range(2):
        row = measure.evaluate(source, source, tokens, config=QUICK, progress=False)
    assert source.asked == 4 and row.build_seconds is None


def test_skills_of_another_model_are_not_applicable(exact):
    result = measure.skill_scores(exact, applicable("another model"), n=1)
    assert result["skills"]["facts"] == result["skills"]["refusal"] == NOT_APPLICABLE
    assert 0 <= result["skills"]["code"] <= 1 and result["n"]["code"] == 1
    assert "not applicable: this model was not taught it" in measure.describe(result)


@pytest.mark.parametrize(("asked", "facts"), [(SKILLS, 0.0), (applicable("another model"), NOT_APPLICABLE)])
def test_the_caller_says_which_skills_are_asked(exact, tokens, asked, facts):
    """Not the model's name: a copy in a folder called pico was taught what its base was."""
    config = EvaluationConfig(asked, n_items=1, time=False)
    for name in ("pico", "another model"):
        exact.name = name
        row = measure.evaluate(exact, None, tokens, config=config, progress=False)
        assert row.skills["facts"] == facts and row.n_items == 1


def test_skills_are_graded_item_by_item():
    from qcourse.skills import items

    class Oracle:
        """Answers every question rightly but the first of each skill."""

        def logits(self, tokens):
            raise NotImplementedError

        def generate(self, messages, limits):
            known = {item.prompt: item for skill in measure.skills.SKILLS for item in items(skill, 4)}
            first = {items(skill, 1)[0].prompt for skill in measure.skills.SKILLS}
            prompts = [chat[-1]["content"] for chat in messages]
            assert limits == [known[prompt].max_new_tokens for prompt in prompts]
            return ["?" if prompt in first else known[prompt].answer for prompt in prompts]

    result = measure.skill_scores(Oracle(), SKILLS, n=4)
    assert set(result["skills"].values()) == {0.75}
    assert result["marks"]["code"] == [False, True, True, True]
    low, high = result["intervals"]["code"]
    assert low < 0.75 < high
    assert "75.0%" in measure.describe(result) and "n=4" in measure.describe(result)


def test_cache_keeps_what_it_took_and_survives_damage(tmp_path):
    made = []

    def build():
        made.append(1)
        return {"x": 1}

    first = cached("test", {"a": 1}, build)
    second = cached("test", {"a": 1}, build)
    assert first.fresh and not second.fresh and len(made) == 1
    assert (second.value, second.seconds, second.date) == (first.value, first.seconds, first.date)
    assert "from the cache" in str(second)
    (file,) = (tmp_path / "cache" / "test").glob("*.json")
    file.write_text(file.read_text()[:-30])
    assert cached("test", {"a": 1}, build).fresh


def test_a_failed_measurement_stores_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        cached("test", {}, lambda: 1 / 0)
    assert not list(tmp_path.rglob("*.json"))
