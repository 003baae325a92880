"""How long a model takes: to the first token, per further token, and tokens a second by batch size."""

from collections.abc import Sequence
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.latency import Latency
from qcourse.measure.in_memory import as_source
from qcourse.measure.sources import LogitSource


def latency(
    model: Any, batches: Sequence[int] = (1, 4), prompt_tokens: int = 256, new_tokens: int = 32,
    repeats: int = 3
) -> list[Latency]:  # fmt: skip
    """Time greedy decoding with a KV cache at each batch size, after one run to warm up.

    Raises QCourseError for fewer than two new tokens, since the first one is the prefill's.
    """
    if new_tokens < 2:
        raise QCourseError(f"{new_tokens} new tokens say nothing about decoding; ask for at least 2")
    source: LogitSource = as_source(model)
    return [source.latency(batch, prompt_tokens, new_tokens, repeats) for batch in batches]
