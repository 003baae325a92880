"""A logit source that answers from memory what it was asked before."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from qcourse.measure.sources import logit_chunks


class Remembered:
    """Keeps a source's logits of each batch of tokens, so that a reference runs once for many candidates.

    source: a logit source with `.vocabulary`; limit: bytes of logits kept in all. What would go beyond
    them is passed on chunk by chunk and not kept.
    """

    def __init__(self, source: Any, limit: float) -> None:
        self.source, self.limit = source, limit
        self.vocabulary = source.vocabulary
        self.kept: dict[tuple, list[Tensor]] = {}

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the source's logits, float32 [B, T, V]."""
        return self.source.logits(tokens)

    def chunks(self, tokens: Tensor, rows: int) -> Iterator[Tensor]:
        """Yield the source's chunks [<= rows, V], from memory if these tokens int64 [B, T] came before."""
        key = (tokens.numpy().tobytes(), tuple(tokens.shape), rows)
        if key not in self.kept:
            found = logit_chunks(self.source, tokens, rows)
            if not self.fits(tokens):
                yield from found
                return
            self.kept[key] = list(found)
        yield from self.kept[key]

    def fits(self, tokens: Tensor) -> bool:
        """Return whether the float32 logits of the predicted positions may be kept beside the others."""
        held = sum(chunk.nbytes for chunks in self.kept.values() for chunk in chunks)
        return held + 4 * tokens[:, 1:].numel() * self.vocabulary <= self.limit
