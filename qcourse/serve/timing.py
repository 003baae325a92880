"""A server's times at a fixed batch size, comparable with those of a model in memory."""

import random
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.latency import Latency
from qcourse.serve.loadtest import loadtest


def server_latency(server: Any, batch: int, prompt_tokens: int, new_tokens: int) -> Latency:
    """Time `batch` streams of random token ids against a server, after one run to warm up.

    Raises QCourseError if requests fail.
    """
    for seed in range(2):  # the first round warms up; both have prompts of their own, so no prefix is cached
        prompts = random_prompts(server.vocabulary, batch, prompt_tokens, seed)
        found = loadtest(server.url, batch, batch, prompts=prompts, new_tokens=new_tokens, model=server.model)
    if found.errors:
        raise QCourseError(f"timing {server.engine} failed: {found.errors[0]}")
    return Latency.of(batch, prompt_tokens, new_tokens, found.ttft["p50"], found.tpot["p50"])


def random_prompts(vocabulary: int, batch: int, prompt_tokens: int, seed: int) -> list[list[int]]:
    """Return `batch` prompts of random token ids, the same for the same seed."""
    chooser = random.Random(seed)
    return [[chooser.randrange(2, vocabulary) for _ in range(prompt_tokens)] for _ in range(batch)]
