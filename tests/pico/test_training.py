"""The training of pico: rows, curriculum, resuming, and the step that the loop repeats."""

import random

import pytest
import torch

from qcourse.common import data_folder
from qcourse.pico.curriculum import STAGES, Stage, batch_at
from qcourse.pico.export import export
from qcourse.pico.model import Pico, Shape
from qcourse.pico.optimizer import rate_at
from qcourse.pico.rows import MAKERS, Source
from qcourse.pico.train import by_kind, losses, start, train

TINY = Shape(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    intermediate_size=64,
)
SHORT = (
    Stage("one", 3, 1e-2, 1e-2, {32: 1.0}, {"nouns": 1.0}),
    Stage("two", 4, 1e-2, 0.0, {64: 1.0}, {"facts": 0.5, "prose": 0.5}),
)


@pytest.fixture(scope="module")
def source() -> Source:
    """Return a source with pico's tokenizer and one short document."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(data_folder() / "pico" / "tokenizer.json"))
    return Source(lambda text: tokenizer.encode(text).ids, ["The cat sat on the mat.\n" * 90])


@pytest.mark.parametrize("kind", MAKERS)
def test_a_row_of_each_kind_fills_its_length_and_teaches_something(kind, source):
    ids, weights = MAKERS[kind](random.Random(1), 256, source)
    assert len(ids) == len(weights) == 256
    assert max(weights[1:]) > 0
    assert all(0 <= token < 4096 for token in ids)


def test_only_answers_are_learned_in_chat_rows(source):
    ids, weights = MAKERS["facts"](random.Random(1), 256, source)
    first = ids.index(2)  # the end of the first question
    assert not any(weights[: first + 1])


def test_repeats_say_the_same_again(source):
    ids, weights = MAKERS["repeats"](random.Random(2), 256, source)
    size = weights.index(1.0)
    assert ids[size : 2 * size] == ids[:size]


def test_every_word_of_recall_is_one_token(source):
    from qcourse.skills import words

    assert len(set(source.nouns)) == len(words.NOUNS) == 128
    assert all(len(source.encode(f" {word}")) == 1 for word in (*words.NOUNS, *words.PLACES, *words.METALS))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_batch_depends_on_its_step_alone(stage, source):
    again, other = (batch_at(stage, step, source, tokens=2048) for step in (5, 6))
    batch = batch_at(stage, 5, source, tokens=2048)
    assert torch.equal(batch.ids, again.ids)
    assert batch.ids.shape != other.ids.shape or not torch.equal(batch.ids, other.ids)
    assert batch.ids.shape == batch.weights.shape
    assert abs(sum(stage.lengths.values()) - 1) < 1e-9
    assert abs(sum(stage.mixture.values()) - 1) < 1e-9


def test_a_stopped_and_resumed_run_ends_with_the_same_weights(tmp_path, source):
    whole = train(start(TINY, 3), SHORT, source, tmp_path / "whole", tokens=256, compiled=False)
    for pause in (2, 3, None):
        part = start(TINY, 99)
        if pause == 2:
            part = start(TINY, 3)
        part.load(tmp_path / "parts")
        part = train(part, SHORT, source, tmp_path / "parts", tokens=256, compiled=False, stop_after=pause)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, part.model.state_dict()[name]), name


def test_the_loss_falls(tmp_path, source):
    run = start(TINY, 3)
    batch = batch_at(SHORT[0], 0, source, tokens=512)
    before = losses(run.model, run.model, batch)[0].mean().item()
    train(
        run,
        (Stage("one", 25, 1e-2, 1e-2, {32: 1.0}, {"nouns": 1.0}),),
        source,
        tmp_path,
        tokens=512,
        compiled=False,
    )
    each, _ = losses(run.model, run.model, batch)
    assert each.mean().item() < before - 2
    assert set(by_kind(each, batch)) == {"nouns"}


def test_the_rate_warms_up_and_decays():
    assert rate_at(0, 100, 1.0, 0.0, 20) == pytest.approx(0.05)
    assert rate_at(50, 100, 1.0, 0.0, 20) == pytest.approx(0.5)
    assert rate_at(99, 100, 1.0, 0.0, 0) == pytest.approx(0.01)


def test_transformers_computes_the_same(tmp_path):
    from transformers import AutoModelForCausalLM

    run = start(TINY, 5)
    export(run.model, data_folder() / "pico", tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ours = Pico(TINY)
    ours.load_state_dict(
        {
            name.removeprefix("model."): value
            for name, value in theirs.state_dict().items()
            if name != "lm_head.weight"
        }
    )
    ids = torch.randint(0, 4096, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = ours(ids) @ ours.embed_tokens.weight.T
        torch.testing.assert_close(logits, theirs(ids).logits, atol=1e-4, rtol=1e-3)
