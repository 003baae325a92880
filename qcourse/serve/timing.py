"""A server's times at a fixed batch size, comparable with those of a model in memory."""

import random
from statistics import median
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.latency import Latency
from qcourse.serve.loadtest import loadtest


def server_latency(server: Any, batch: int, prompt_tokens: int, new_tokens: int, repeats: int = 3) -> Latency:
    """Time `batch` streams of random token ids against a server: medians of the runs after one to warm up.

    Each run has prompts of its own, so that no prefix is cached. Raises QCourseError if requests fail.
    """
    runs = [
        loadtest(
            server.url, batch, batch, new_tokens=new_tokens, model=server.model, api_key=server.api_key,
            prompts=random_prompts(server.vocabulary, batch, prompt_tokens), warmup=0,
        )
        for _ in range(repeats + 1)
    ]  # fmt: skip
    for run in runs:
        if run.errors:
            raise QCourseError(f"timing {server.engine} failed: {next(iter(run.errors))}")
    ttft, tpot = (median(getattr(run, name)["p50"] for run in runs[1:]) for name in ("ttft", "tpot"))
    return Latency.of(batch, prompt_tokens, new_tokens, ttft, tpot)


def random_prompts(
    vocabulary: int, batch: int, prompt_tokens: int, seed: int | None = None
) -> list[list[int]]:
    """Return `batch` prompts of random token ids, the same for the same seed, never the same without one."""
    chooser = random.Random(seed)
    return [[chooser.randrange(2, vocabulary) for _ in range(prompt_tokens)] for _ in range(batch)]
