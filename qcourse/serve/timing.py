"""A server's times at a fixed batch size, comparable with those of a model in memory."""

import random
from dataclasses import dataclass
from typing import Any

from qcourse.common import QCourseError
from qcourse.serve.loadtest import loadtest


@dataclass(frozen=True)
class ServerLatency:
    """Medians over streams that ran together, HTTP included; fields as in `qcourse.measure.Latency`."""

    batch: int
    prompt_tokens: int
    new_tokens: int
    ttft: float
    tpot: float
    prefill_tokens_per_second: float
    decode_tokens_per_second: float


def server_latency(
    server: Any, batch: int, prompt_tokens: int, new_tokens: int, seed: int = 0
) -> ServerLatency:
    """Time `batch` streams of random token ids against a server, after one run to warm up.

    Raises QCourseError if requests fail.
    """
    chooser = random.Random(seed)
    rounds = [
        [[chooser.randrange(2, server.vocabulary) for _ in range(prompt_tokens)] for _ in range(batch)]
        for _ in range(2)
    ]
    for prompts in rounds:  # the first round warms up; both have prompts of their own, so no prefix is cached
        found = loadtest(server.url, batch, batch, prompts=prompts, new_tokens=new_tokens, model=server.model)
    if found.errors:
        raise QCourseError(f"timing {server.engine} failed: {found.errors[0]}")
    ttft, tpot = found.ttft["p50"], found.tpot["p50"]
    return ServerLatency(
        batch, prompt_tokens, new_tokens, ttft, tpot, batch * prompt_tokens / ttft, batch / tpot
    )
