"""The text that everything is measured on, as token windows, with all that decides a perplexity."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError, read_text
from qcourse.skills import prose


@dataclass(frozen=True)
class EvaluationSet:
    """Token windows int64 [n_windows, context] and where they come from.

    stride: tokens between the starts of neighbouring windows; where it is below the
    context, a window scores only the tokens that its predecessor did not.
    """

    tokens: Tensor
    split: str
    tokenizer: str
    stride: int

    @property
    def context(self) -> int:
        """Tokens a window."""
        return self.tokens.shape[1]

    @property
    def scored(self) -> Tensor:
        """Return which predictions count: bool [n_windows, context - 1]; position i predicts token i + 1."""
        mask = torch.ones(len(self.tokens), self.context - 1, dtype=torch.bool)
        if self.stride < self.context:
            mask[1:, : self.context - self.stride - 1] = False
        return mask

    @property
    def n_tokens(self) -> int:
        """Number of predicted tokens that count."""
        return int(self.scored.sum())

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 over the token ids, the context and the stride."""
        header = f"{tuple(self.tokens.shape)} {self.stride} ".encode()
        return hashlib.sha256(header + self.tokens.to(torch.int64).numpy().tobytes()).hexdigest()[:16]

    def __str__(self) -> str:
        return (
            f"tokenizer {self.tokenizer}, context {self.context}, stride {self.stride}, "
            f"split {self.split}, {self.n_tokens:,} predicted tokens in {len(self.tokens)} windows"
        )


def evaluation_tokens(
    tokenizer: Any, n_windows: int | None = 16, context: int = 512, stride: int | None = None,
    text: Path | str | None = None
) -> EvaluationSet:  # fmt: skip
    """Tokenize the evaluation prose (or a text file) and cut it into windows.

    n_windows None takes all. Without overlap (stride None) the windows are spread evenly over the
    text; with it they are neighbours from the start. Documents are joined by the end token.
    Raises QCourseError when the text is missing or shorter than asked.
    """
    documents = prose("eval") if text is None else [read_text(text)]
    stream = join(tokenizer, documents)
    stride = stride or context
    available = max(0, (len(stream) - context) // stride + 1)
    wanted = available if n_windows is None else n_windows
    if wanted < 1 or wanted > available:
        raise QCourseError(
            f"{wanted} windows of {context} tokens were asked for, but the text has {len(stream):,} tokens, "
            f"enough for {available}; ask for fewer or shorter windows, or give a longer text"
        )
    starts = range(wanted) if stride < context else spread(wanted, available)
    windows = torch.stack([stream[i * stride : i * stride + context] for i in starts])
    return EvaluationSet(windows, "eval" if text is None else Path(text).name, name_of(tokenizer), stride)


def join(tokenizer: Any, documents: list[str]) -> Tensor:
    """Return the documents' token ids in a row, int64 [n], the end token after each."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ids: list[int] = []
    for document in documents:
        ids += tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"] + end
    return torch.tensor(ids, dtype=torch.int64)


def spread(wanted: int, available: int) -> list[int]:
    """Return `wanted` window numbers, evenly spread over `available`."""
    return [i * available // wanted for i in range(wanted)]


def name_of(tokenizer: Any) -> str:
    """Return the tokenizer's folder name and vocabulary size, such as pico (4096)."""
    folder = Path(getattr(tokenizer, "name_or_path", "") or "tokenizer").name
    return f"{folder} ({len(tokenizer)})"


def as_evaluation_set(tokens: "EvaluationSet | Tensor") -> EvaluationSet:
    """Return an EvaluationSet as it is, and a token tensor [n_windows, context] as one of unnamed origin."""
    if isinstance(tokens, EvaluationSet):
        return tokens
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise QCourseError(
            f"tokens of shape {tuple(tokens.shape)} cannot be measured; give [windows, context], context >= 2"
        )
    return EvaluationSet(tokens.cpu(), "given tokens", "unnamed", tokens.shape[1])
