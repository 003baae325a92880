"""The training of pico: rows, curriculum, resuming, and the step that the loop repeats."""

import json
import pickle
import random

import pytest
import torch

from qcourse.common import QCourseError, data_folder
from qcourse.pico.curriculum import Stage, Steps, batch_at, stages
from qcourse.pico.export import export
from qcourse.pico.model import Pico, Shape
from qcourse.pico.optimizer import Muon, orthogonalize, rate_at
from qcourse.pico.rows import MAKERS
from qcourse.pico.run import half, start
from qcourse.pico.step import by_kind, losses, train_step
from qcourse.pico.train import batches, train

TINY = Shape(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    intermediate_size=64,
)
SHORT = (
    Stage("one", 3, 256, 1e-2, 1e-2, {32: 1.0}, {"nouns": 1.0}),
    Stage("two", 4, 256, 1e-2, 0.0, {64: 1.0}, {"mixed": 0.5, "prose": 0.5}),
)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_row_of_each_kind_fills_its_length_and_teaches_something(kind, source):
    ids, weights = MAKERS[kind](random.Random(1), 256, source)
    assert len(ids) == len(weights) == 256
    assert max(weights[1:]) > 0
    assert all(0 <= token < 4096 for token in ids)


def test_only_answers_are_learned_in_chat_rows(source):
    ids, weights = MAKERS["mixed"](random.Random(1), 256, source)
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


@pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.name)
def test_a_batch_depends_on_its_step_alone(stage, source):
    again, other = (batch_at(stage, step, source) for step in (5, 6))
    batch = Steps(stage, 3, source, 1)[2]
    assert torch.equal(batch.ids, again.ids)
    assert batch.ids.shape != other.ids.shape or not torch.equal(batch.ids, other.ids)
    assert batch.ids.shape == batch.weights.shape
    assert batch.ids.numel() == stage.batch
    assert abs(sum(stage.lengths.values()) - 1) < 1e-9
    assert abs(sum(stage.mixture.values()) - 1) < 1e-9


@pytest.mark.parametrize("tokens", [5_000_000, 40_000_000, 400_000_000])
def test_the_curriculum_has_the_tokens_asked_for_and_decays_over_the_last_third(tokens):
    plan = stages(tokens)
    total = sum(stage.steps * stage.batch for stage in plan)
    assert abs(total - tokens) < 20_000
    assert [stage.name for stage in plan] == ["repeats", "widen", "learn", "decay"]
    assert plan[-1].steps * plan[-1].batch / total == pytest.approx(1 / 3, abs=0.01)
    assert all(stage.first == stage.last for stage in plan[:-1])
    assert (plan[-1].first, plan[-1].last) == (plan[-2].last, 0.0)


def test_a_stopped_and_resumed_run_ends_with_the_same_weights(tmp_path, source):
    whole = train(start(TINY, 3, source), SHORT, source, tmp_path / "whole")
    for seed, pause in ((3, 2), (99, 3), (98, None)):
        part = start(TINY, seed, source)
        part.load(tmp_path / "parts")
        part = train(part, SHORT, source, tmp_path / "parts", stop_after=pause)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, part.model.state_dict()[name]), name


def test_a_run_refuses_to_go_on_with_another_corpus(tmp_path, source):
    run = start(TINY, 3, source)
    run.save(tmp_path)
    run.reads = "another"
    with pytest.raises(QCourseError, match="another corpus"):
        run.load(tmp_path)


def test_the_curve_has_each_kind_and_the_held_out_perplexity(tmp_path, source):
    train(start(TINY, 3, source), SHORT, source, tmp_path, held_out=list(range(3, 300)))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [
        *(("one", step) for step in (1, 2, 3)),
        *(("two", step) for step in (1, 2, 3, 4)),
    ]
    assert all("nouns" in row for row in rows[:3])
    assert [row["step"] for row in rows if 1000 < row.get("held_out_perplexity", 0) < 9000] == [3, 4]


def test_a_batch_in_parts_changes_the_weights_as_in_one(source, monkeypatch):
    made = []
    for part in (32, 4096):
        monkeypatch.setattr("qcourse.pico.step.PART_TOKENS", {"cpu": part})
        run = start(TINY, 3, source)
        each = train_step(run, run.model, batch_at(SHORT[1], 0, source), 1e-2)
        made.append((each, *run.model.parameters()))
    for parts, whole in zip(*made, strict=True):
        torch.testing.assert_close(parts, whole, atol=2e-4, rtol=1e-3)


def test_other_processes_draw_the_same_batches_in_order(source):
    run = start(TINY, 3, source)
    run.step = 1
    drawn = list(batches(SHORT[1], run, source, 1, workers=2))
    assert [batch.kinds for batch in drawn] == [batch_at(SHORT[1], step, source).kinds for step in (1, 2, 3)]
    assert all(torch.equal(drawn[n].ids, batch_at(SHORT[1], n + 1, source).ids) for n in range(3))
    assert torch.equal(pickle.loads(pickle.dumps(Steps(SHORT[1], 1, source, 1)))[0].ids, drawn[0].ids)


def test_with_bf16_arithmetic_the_weights_stay_fp32_and_learn(source, monkeypatch):
    assert start(TINY, 3, source).optimizers[0].dtype == half(torch.device("cpu"))
    monkeypatch.setattr("qcourse.pico.run.cpu_flags", lambda: frozenset({"avx512_bf16"}))
    run = start(TINY, 3, source)
    assert run.optimizers[0].dtype == torch.bfloat16
    batch = batch_at(SHORT[0], 0, source)
    each = [train_step(run, run.model, batch, 1e-2).mean().item() for _ in range(8)]
    assert each[-1] < each[0] - 1
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}


def test_the_loss_falls(tmp_path, source):
    run = start(TINY, 3, source)
    stage = Stage("one", 25, 512, 1e-2, 1e-2, {32: 1.0}, {"nouns": 1.0})
    batch = batch_at(stage, 0, source)
    before = losses(run.model, run.model, batch)[0].mean().item()
    train(run, (stage,), source, tmp_path)
    each, _ = losses(run.model, run.model, batch)
    assert each.mean().item() < before - 2
    assert set(by_kind(each, batch)) == {"nouns"}


@pytest.mark.parametrize("shape", [(64, 32), (32, 64), (48, 48)])
def test_muon_is_torchs_in_another_dtype(shape):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(shape, generator=generator)
    ours, theirs = (torch.nn.Parameter(first.clone()) for _ in range(2))
    pair = (
        Muon([ours], torch.bfloat16, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.05, momentum=0.95, weight_decay=0.1),
    )
    pair[0].param_groups[0]["lr"] = 0.05
    for _ in range(3):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        for optimizer in pair:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)
    assert (ours - first).abs().max() > 0.01


def test_an_orthogonalized_matrix_has_singular_values_near_one():
    made = orthogonalize(torch.randn(2, 40, 24, generator=torch.Generator().manual_seed(1)), torch.float32)
    values = torch.linalg.svdvals(made)
    assert 0.6 < values.min() and values.max() < 1.3


def test_the_rate_warms_up_and_decays():
    assert rate_at(0, 100, 1.0, 0.0, 20) == pytest.approx(0.05)
    assert rate_at(50, 100, 1.0, 0.0, 20) == pytest.approx(0.5)
    assert rate_at(99, 100, 1.0, 0.0, 0) == pytest.approx(0.01)


def test_transformers_computes_the_same(tmp_path, source):
    from transformers import AutoModelForCausalLM

    run = start(TINY, 5, source)
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
