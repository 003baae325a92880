"""Which text an artefact is calibrated on, and what its record says of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEQUENCES, LENGTH, SEED = 64, 512, 0


@dataclass(frozen=True)
class Calibration:
    """Windows of a text: `sequences` x `length` tokens, drawn by `seed`.

    source: a text or JSONL file, a hub dataset (hub:ORG/NAME...), or None for the course's own prose.
    texts: documents in memory instead, under `name`. all_experts: show every expert of a mixture every token.
    """

    source: Path | str | None = None
    texts: Sequence[str] | None = None
    name: str = "the course's calibration prose"
    sequences: int = field(default_factory=lambda: SEQUENCES)
    length: int = field(default_factory=lambda: LENGTH)
    seed: int = SEED
    all_experts: bool = False

    def tokens(self, tokenizer: Any) -> Any:
        """Return the windows, int64 [sequences, length]."""
        from qcourse.calibrate import batches, read_texts
        from qcourse.skills import prose

        texts = self.texts
        if texts is None:
            texts = prose("calibration") if self.source is None else read_texts(self.source)
        return batches(tokenizer, list(texts), self.sequences, self.length, self.seed)

    def facts(self, tokens: Any) -> dict[str, Any]:
        """Return what a record says of the text and its tokens."""
        from qcourse.calibrate import text_record, tokens_hash

        known = text_record(self.source) if self.source is not None else {"name": self.name}
        sizes = {"sequences": len(tokens), "seq_len": tokens.shape[1], "seed": self.seed}
        everywhere = {"all_experts": True} if self.all_experts else {}
        return known | sizes | everywhere | {"sha256": tokens_hash(tokens)}


def calibration_tokens(
    tokenizer: Any, sequences: int | None = None, texts: Sequence[str] | None = None
) -> Any:
    """Return the calibration windows of every lane and lesson, int64 [sequences, 512]."""
    return Calibration(texts=texts, sequences=sequences or SEQUENCES).tokens(tokenizer)
