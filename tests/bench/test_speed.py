"""The parts of `make bench` that decide what its table says: bars, voids, floors, memory."""

from types import SimpleNamespace

import pytest
import torch

from qcourse.bench.speed import clock, floor, run, streaming
from qcourse.bench.speed.quantizing import against
from qcourse.common import QCourseError

SHAPE = SimpleNamespace(
    hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2
)


def test_floor_counts_the_products_of_each_layer():
    parts = floor.work(SHAPE, "gptq-w4g128", tokens=10, length=5)
    weights = 8 * (8 + 4 + 4) + 8 * 8 + 8 * 24 + 12 * 8
    attention = 4 * (5 * 5 / 2) * 8 * (10 / 5)  # two products, half of the positions
    assert parts["forward"] == (3 * (2 * 10 * weights + attention), "bf16")
    assert parts["Hessians"][0] == 3 * 10 * (3 * 8**2 + 12**2)
    assert parts["updates"][0] == 3 * (8**2 * 16 + 8**2 * 8 + 8**2 * 24 + 12**2 * 8)
    found = floor.seconds(SHAPE, "gptq-w4g128", 10, 5, {"bf16": 2.0, "fp32": 4.0, "bf16 into fp32": 1.0})
    assert found["forward"] == parts["forward"][0] / 2 and found["floor"] == pytest.approx(
        sum(value for name, value in found.items() if name != "floor")
    )
    assert "search" in floor.work(SHAPE, "awq-w4g128", 10, 5)


def test_bars_and_voids():
    assert clock.row("a", 3.9, 4, at_least=True)["met"] == "no" and clock.row("a", 4, 4, True)["met"] == "yes"
    assert clock.row("a", 3.1, 3, at_least=False)["met"] == "no"
    fast, slow = clock.Timing([1.0, 3.0, 2.0]), clock.Timing([9.0])
    assert (fast.median, fast.spread) == (2.0, "1-3 (3)")
    assert against("x", "peer", fast, 0.1, slow, 0.1)["met"] == "yes"
    assert against("x", "peer", fast, 0.106, slow, 0.1)["met"] == "void: KL"


def test_slow_peers_run_once_unless_asked(monkeypatch):
    ticks = iter(range(0, 10_000, 60))
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(clock, "SLOW", 50.0)
    assert len(clock.timed(lambda: 1, lambda given: given + 1, 5, full=False).seconds) == 1
    both = clock.timed(lambda: 1, lambda given: given + 1, 5)
    assert both.seconds == [60] * 5 and both.result == 2


def test_anonymous_memory_counts_what_no_file_backs():
    before = streaming.anonymous_bytes()
    held = torch.ones(64 * 2**20, dtype=torch.uint8)
    assert streaming.anonymous_bytes() - before > 60 * 2**20 and held.sum() == len(held)


def test_unknown_part_is_named():
    with pytest.raises(QCourseError, match="no part called train; the parts are gptq, awq"):
        run.bench(only=["train"])
