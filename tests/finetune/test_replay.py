"""Replay: free of charge at the start, and it holds what the model said about old rows."""

import pytest
import torch

from qcourse.finetune import Replay, TokenizedExample, add_adapters, fit, freeze, loop
from qcourse.finetune.replay import log_probabilities
from qcourse.models import linears
from qcourse.numerics.codebook import quantize_codebook
from tests.finetune.tiny_llama import tiny_llama

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def adapted_on_dense():
    """Return an adapted model whose base is exact, so that it starts as its own teacher."""
    return add_adapters(tiny_llama().requires_grad_(False), rank=8)


def old_rows(seed: int, n: int) -> list[TokenizedExample]:
    """Return rows of an old domain: tokens below 60, of two lengths."""
    draw = torch.Generator().manual_seed(seed)
    return [
        TokenizedExample(torch.randint(0, 60, (12 + 6 * (i % 2),), generator=draw).tolist(), 0)
        for i in range(n)
    ]


def test_its_gradient_is_zero_before_anything_is_forgotten():
    adapted, replay = adapted_on_dense(), Replay(old_rows(0, 4), tiny_llama())
    loss = replay.loss(adapted, replay.rows)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    gradients = [p.grad.abs().max() for p in adapted.parameters() if p.grad is not None]
    assert gradients and max(gradients) < 1e-6


def test_the_loss_is_the_mean_divergence_of_real_tokens():
    """Padding of the shorter rows does not count."""
    rows, model = old_rows(1, 2), tiny_llama()
    base = freeze(tiny_llama(), {n: quantize_codebook(w.weight.detach()) for n, w in linears(model).items()})
    replay = Replay(rows, model)
    parts = []
    for row in rows:
        ids = torch.tensor([row.ids])
        wanted, found = log_probabilities(model, ids), log_probabilities(base, ids)
        parts.append((wanted.exp() * (wanted - found)).sum(-1).flatten())
    assert replay.loss(base, rows).item() == pytest.approx(torch.cat(parts).mean().item(), rel=1e-4)


def test_it_keeps_the_old_while_the_new_is_learned(rows):
    drift, log = {}, {}
    unseen = Replay(old_rows(9, 32), tiny_llama())
    held = Replay(old_rows(0, 64), tiny_llama(), size=8, weight=2.0)
    for label, replay in {"alone": None, "replayed": held}.items():
        adapted = adapted_on_dense()
        log[label] = fit(
            adapted, rows, steps=40, batch_size=16, learning_rate=5e-3, replay=replay, progress=False
        )
        with torch.no_grad():
            drift[label] = unseen.loss(adapted, unseen.rows).item()
    assert drift["replayed"] < 0.5 * drift["alone"]
    assert log["replayed"].losses[-1] < 0.9 * log["replayed"].losses[0]
    assert len(log["replayed"].replay_losses) == 40 and log["alone"].replay_losses == []
    assert log["replayed"].tokens > log["alone"].tokens


def test_pieces_of_a_batch_give_the_gradient_of_the_whole(rows, monkeypatch):
    """Rows of unequal length, both objectives: how a batch is cut changes nothing but the memory."""
    gradients = []
    for limit in (10_000, 60):
        monkeypatch.setattr(loop, "PIECE_TOKENS", limit)
        adapted = adapted_on_dense()
        torch.nn.init.normal_(
            adapted.get_submodule(LAYER).lora_B["default"].weight,
            std=0.5,
            generator=torch.Generator().manual_seed(0),
        )
        replay = Replay(old_rows(0, 7), tiny_llama(), weight=0.5)
        assert (len(loop.pieces(rows[:9])) > 2) == (limit == 60)
        trainable = [p for p in adapted.parameters() if p.requires_grad]
        values = loop._step(
            adapted,
            trainable,
            torch.optim.SGD(trainable, lr=0.0),
            [(rows[:9], loop.Answers()), (replay.rows, replay)],
        )
        gradients.append((values, [p.grad for p in trainable]))
    (whole, first), (cut, second) = gradients
    assert whole[1] > 1e-4 and cut == pytest.approx(whole, rel=1e-3)
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_pieces_hold_every_row_once_and_little_padding():
    batch = [TokenizedExample([1] * n, 0) for n in (130, 41, 42, 64, 500, 40, 20, 60, *[42] * 12)]
    cut = loop.pieces(batch)
    assert sorted(len(row.ids) for piece in cut for row in piece) == sorted(len(row.ids) for row in batch)
    for piece in cut:
        lengths = [len(row.ids) for row in piece]
        assert len(piece) == 1 or len(piece) * max(lengths) <= loop.PIECE_TOKENS
        assert max(lengths) <= 1.5 * min(lengths)
