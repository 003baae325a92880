"""Time and memory: definitions, not durations."""

import time

import pytest
import torch

from qcourse import measure
from qcourse.common import QCourseError


def test_latency_at_each_batch_size(rounded):
    found = measure.latency(rounded, batches=(1, 3), prompt_tokens=16, new_tokens=4, repeats=1)
    assert [row.batch for row in found] == [1, 3]
    for row in found:
        assert row.prefill_tokens_per_second == pytest.approx(row.batch * 16 / row.ttft)
        assert row.decode_tokens_per_second == pytest.approx(row.batch / row.tpot)


def test_decoding_steps_are_the_models_own_greedy_ones(rounded, monkeypatch):
    prompt = torch.randint(5, 512, (1, 8), generator=torch.Generator().manual_seed(0))
    seen = []
    forward = rounded.model.forward

    def watch(**inputs):
        seen.append(inputs["input_ids"].flatten().tolist())
        return forward(**inputs)

    monkeypatch.setattr(rounded.model, "forward", watch)
    from qcourse.measure.timing import one_run

    one_run(rounded.model, prompt, 4)
    monkeypatch.undo()
    expected = rounded.model.generate(prompt, max_new_tokens=3, do_sample=False, eos_token_id=None)[0, 8:]
    assert (
        seen[0] == prompt[0].tolist() and [token for step in seen[1:] for token in step] == expected.tolist()
    )


def test_one_new_token_says_nothing_about_decoding(rounded):
    with pytest.raises(QCourseError, match="at least 2"):
        measure.latency(rounded, new_tokens=1)


def test_tied_weights_count_once(rounded):
    parameters = sum(p.numel() for p in rounded.model.parameters())
    buffers = sum(b.nbytes for b in rounded.model.buffers())
    assert measure.weight_bytes(rounded.model) == 2 * parameters + buffers


def test_kv_bytes_are_the_caches(rounded):
    with torch.no_grad():
        cache = rounded.model(torch.ones(1, 24, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert measure.kv_bytes(rounded.model.config, 24) == held


def test_peak_sees_what_was_freed_again():
    with measure.PeakMemory() as peak:
        block = torch.ones(256 * 2**20, dtype=torch.uint8)
        time.sleep(0.5)  # long enough to be seen on a busy machine
        del block
    assert 200 * 2**20 < peak.increase < 512 * 2**20
