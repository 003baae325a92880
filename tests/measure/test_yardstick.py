"""Perplexity and divergence against plain float64 loops."""

import math

import pytest
import torch

from qcourse import measure
from qcourse.common import QCourseError
from qcourse.measure import HFSource, sources
from qcourse.models.attention import blockwise_attention


def naive_loss(model, window):
    """Return the mean loss of one window by transformers' own loss, float32."""
    with torch.no_grad():
        return model(input_ids=window[None], labels=window[None]).loss.item()


def test_perplexity_is_transformers_own_loss(exact, tokens):
    found = measure.perplexity(exact, tokens)
    losses = [naive_loss(exact.model, window) for window in tokens]
    assert found.value == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)
    assert found.nll_per_sequence.tolist() == pytest.approx(losses, rel=1e-4)
    assert found.interval.low < found.value < found.interval.high


def test_perplexity_prints_what_decides_it(exact, capsys):
    evaluation = measure.evaluation_tokens(exact.tokenizer, n_windows=2, context=48, stride=24)
    measure.perplexity(exact, evaluation, verbose=True)
    printed = capsys.readouterr().out
    for part in ("perplexity", "small (512)", "context 48", "stride 24", "split eval", "71 predicted tokens"):
        assert part in printed


def test_overlap_scores_later_tokens_with_more_context(exact):
    evaluation = measure.evaluation_tokens(exact.tokenizer, n_windows=3, context=48, stride=16)
    found = measure.perplexity(exact, evaluation)
    by_hand = []
    with torch.no_grad():
        for number, window in enumerate(evaluation.tokens):
            losses = torch.nn.functional.cross_entropy(
                exact.model(window[None]).logits[0, :-1], window[1:], reduction="none"
            )
            by_hand += losses.tolist() if number == 0 else losses[-16:].tolist()
    assert found.value == pytest.approx(math.exp(sum(by_hand) / len(by_hand)), rel=1e-5)


def test_divergence_of_tensors_is_the_definition_in_float64():
    generator = torch.Generator().manual_seed(0)
    reference, logits = 4 * torch.randn(2, 3, 50, generator=generator, dtype=torch.float64).repeat(2, 1, 1, 1)
    logits = logits + 0.3 * torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    p, q = reference.softmax(-1), logits.softmax(-1)
    expected = (p * (p / q).log()).sum(-1)
    found = measure.divergence(reference.float(), logits.float())
    torch.testing.assert_close(found.kl.double(), expected, atol=1e-6, rtol=1e-4)
    assert found.kl_mean == pytest.approx(expected.mean().item(), rel=1e-4)
    assert found.top1_agreement == (p.argmax(-1) == q.argmax(-1)).double().mean().item()
    assert set(found.intervals) == {"kl_mean", "kl_p99", "top1_agreement"}


def test_log_probabilities_and_impossible_tokens_serve_as_logits():
    logits = torch.randn(1, 4, 20, generator=torch.Generator().manual_seed(1))
    logits[..., 3] = -math.inf
    found = measure.divergence(logits, logits.log_softmax(-1) + 5)
    assert found.kl.abs().max() < 1e-6 and found.kl.isfinite().all()
    assert found.top1_agreement == 1


def test_models_are_compared_where_they_predict(exact, rounded, tokens):
    found = measure.divergence(exact, rounded, tokens)
    with torch.no_grad(), blockwise_attention(rounded.model.config):  # bf16 on the CPU attends in blocks
        reference, logits = (m.model(tokens).logits[:, :-1].double() for m in (exact, rounded))
    expected = (reference.softmax(-1) * (reference.log_softmax(-1) - logits.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(found.kl.double(), expected, atol=2e-6, rtol=1e-2)
    assert 0 < found.kl_mean < 1e-2
    assert measure.divergence(exact, exact, tokens).kl_mean == 0
    assert "tokens" in str(found)


def test_chunks_do_not_change_the_result(exact, rounded, tokens, monkeypatch):
    whole = measure.divergence(exact, rounded, tokens)
    monkeypatch.setattr(sources, "CHUNK_VALUES", 7 * 512)
    in_chunks = measure.divergence(exact, rounded, tokens).kl
    # a product of fewer rows may add in another order; a row in another's place is off by about 1e-4
    assert torch.allclose(in_chunks, whole.kl, rtol=2e-3, atol=1e-6)


def test_any_object_with_logits_is_a_source(exact, tokens, fixed):
    source = HFSource(exact.model)

    class Bare:
        def logits(self, batch):
            return source.logits(batch)

    assert measure.divergence(exact, Bare(), tokens).kl_mean < 1e-9
    table = torch.eye(512) * 9
    assert measure.perplexity(fixed(table), tokens).value > 512


def test_models_of_different_vocabularies_are_refused(exact, tokens, fixed):
    with pytest.raises(QCourseError, match="vocabularies of 600 and 512"):
        measure.divergence(exact, fixed(torch.zeros(512, 600)), tokens)


def test_what_is_no_model_is_refused(tokens):
    with pytest.raises(QCourseError, match="no logit source"):
        measure.perplexity("pico", tokens)


def test_hash_of_a_model_follows_its_weights(small_folder):
    from qcourse import models

    source = HFSource(models.load(small_folder, device="cpu").model)
    before = source.hash
    with torch.no_grad():
        source.model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    assert source.hash != before
