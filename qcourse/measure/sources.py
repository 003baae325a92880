"""What measurements ask of a model, wherever it runs, and its logits chunk by chunk.

Perplexity and divergence need no more than `logits`; a row of the scoreboard asks all of `LogitSource`.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor

from qcourse.common.latency import Latency

CHUNK_VALUES = 2**22  # logits handled at once: 16 MB in float32, which the C library keeps for reuse
BATCH_TOKENS = 2048


class LogitSource(Protocol):
    """What a row of the scoreboard asks of a model, wherever it runs."""

    @property
    def engine(self) -> str:
        """What runs it: transformers, vllm, llama.cpp, or url."""

    @property
    def dtype(self) -> str:
        """The type it computes in, as its engine names it; "" where that is not known."""

    @property
    def vocabulary(self) -> int | None:
        """Tokens of the vocabulary, None where only the logits tell."""

    @property
    def threads(self) -> int | None:
        """Threads it computes with, None for those of this process."""

    @property
    def versions(self) -> dict[str, str]:
        """Versions of what computes outside of this process."""

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Processes whose memory is the model's, none for this one."""

    @property
    def hash(self) -> str | None:
        """What decides its numbers; None: never taken from the cache."""

    @property
    def model_hash(self) -> str | None:
        """What names the unquantized model whatever its dtype; None: its `hash` does."""

    def logits(self, tokens: Tensor) -> Tensor:
        """Return logits or log-probabilities, float32 [B, T, V], for token ids int64 [B, T]."""

    def generate(self, messages: list[list[dict]], max_new_tokens: list[int]) -> list[str]:
        """Return greedy answers to chat messages, in order."""

    def latency(self, batch: int, prompt_tokens: int, new_tokens: int, repeats: int = 3) -> Latency:
        """Return the median times of `repeats` runs after one to warm up."""


def split_logits(logits: Tensor, rows: int) -> Iterator[Tensor]:
    """Yield [<= rows, V] of logits [B, T, V], each window's last position dropped."""
    yield from logits[:, :-1].flatten(0, 1).split(rows)


def logit_chunks(source: Any, tokens: Tensor, rows: int) -> Iterator[Tensor]:
    """Yield float32 [<= rows, V], window after window, for the positions that have a next token."""
    if hasattr(source, "chunks"):
        yield from source.chunks(tokens, rows)
    else:
        yield from split_logits(source.logits(tokens), rows)


def chunk_rows(source: Any) -> int:
    """Return how many positions' logits fit in one chunk."""
    return max(1, CHUNK_VALUES // (getattr(source, "vocabulary", None) or 4096))
