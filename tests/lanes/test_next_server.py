"""The next lane's server starts while a lane is measured, and never while the clock counts."""

import threading
from pathlib import Path

import pytest

from qcourse.common import QCourseError
from qcourse.lanes import lane, next_server


class FakeServer:
    """Remembers whether it was stopped."""

    stopped = False

    def stop(self):
        self.stopped = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


FIRST = lane.Lane("bf16", "bf16", "merged", "transformers")
SERVED = lane.Lane("bf16", "bf16", "merged", "vllm")
BROKEN = lane.Lane("awq", "awq-w4g128", "awq", "vllm")


@pytest.fixture
def starting(monkeypatch):
    """Let servers start when the returned event is set; an AWQ artefact fails to build."""
    event = threading.Event()

    def start(*_):
        assert event.wait(20)
        return FakeServer()

    def built(asked, base):
        if asked is BROKEN:
            raise QCourseError("no artefact")
        return base, Path("folder")

    monkeypatch.setattr(next_server, "start_vllm", start)
    monkeypatch.setattr(next_server, "reference_and_artefact", built)
    return event


def test_a_server_starts_one_lane_early_and_timing_waits_for_it(starting):
    with next_server.Ahead("base") as queue:
        first = queue.take(FIRST, SERVED).result()
        assert first.server is None and first.reference == "base"
        waiting = threading.Thread(target=queue.wait)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        starting.set()
        waiting.join(20)
        assert not waiting.is_alive()
        with next_server.opened(SERVED, queue.take(SERVED).result()) as server:
            assert not server.stopped
    assert server.stopped


def test_what_goes_wrong_early_is_told_in_the_lanes_own_turn(starting):
    starting.set()
    with next_server.Ahead("base") as queue:
        assert queue.take(FIRST, BROKEN).exception() is None
        with pytest.raises(QCourseError, match="no artefact"):
            queue.take(BROKEN, SERVED).result()


def test_a_server_that_no_lane_took_is_stopped(starting):
    starting.set()
    with next_server.Ahead("base") as queue:
        queue.take(FIRST, SERVED)
        queue.wait()
        server = queue.prepared[SERVED].result().server.result()
    assert server.stopped
