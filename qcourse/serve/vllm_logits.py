"""Log-probabilities of the whole vocabulary from a vLLM server, exact to the last bit of its float32.

A server that we started has a page for them (inside_vllm). Any other answers `prompt_logprobs=-1` with a JSON
object a position, {"token id": {"logprob": x, ...}, ...}, some 300 KB for 4,096 tokens; a regular expression
reads it several times faster than a JSON parser, since only two numbers of each entry are wanted.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from qcourse.common import QCourseError

if TYPE_CHECKING:
    from torch import Tensor

# Quotes inside a decoded token are escaped in JSON, so no token's text can look like an entry.
ENTRY = re.compile(rb'"(\d+)": ?\{"logprob": ?(-?[\d.]+(?:[eE][-+]?\d+)?)')
WORKERS = 3


def full_logits(server: Any, tokens: "Tensor", ask: Callable[[Any, list[int]], np.ndarray]) -> "Tensor":
    """Return log-probabilities float32 [B, T, V] after each token of int64 [B, T].

    ask: `from_page` or `from_text`. A position's entry is what the model predicts next, so every window is
    sent with one more token, whose own value does not matter.
    Raises QCourseError if the window does not fit or entries are missing.
    """
    import torch

    with ThreadPoolExecutor(WORKERS) as pool:
        rows = list(
            tqdm(
                pool.map(lambda window: ask(server, [*window, window[-1]]), tokens.tolist()),
                total=len(tokens), desc="log-probabilities over HTTP", leave=False,
                **({"disable": True} if len(tokens) < 2 else {}),
            )
        )  # fmt: skip
    return torch.from_numpy(np.stack(rows))


def from_page(server: Any, prompt: list[int]) -> np.ndarray:
    """Return log-probabilities float32 [T - 1, V] of T tokens from our page in a server of our own."""
    content = server.post("/log_probabilities", model=server.model, tokens=prompt).content
    found = np.frombuffer(content, dtype=np.float32)
    if len(found) != (len(prompt) - 1) * server.vocabulary or np.isnan(found).any():
        raise QCourseError(
            f"the server sent {len(found):,} log-probabilities, {np.isnan(found).sum():,} of them NaN, not "
            f"{len(prompt) - 1} x {server.vocabulary:,}; it must run with --max-logprobs -1"
        )
    return found.reshape(len(prompt) - 1, -1)


def from_text(server: Any, prompt: list[int]) -> np.ndarray:
    """Return log-probabilities float32 [T - 1, V] of T tokens from any vLLM server."""
    answer = server.post("/v1/completions", model=server.model, prompt=prompt, max_tokens=1, temperature=0,
                         prompt_logprobs=-1)  # fmt: skip
    return parse(answer.content, len(prompt) - 1, server.vocabulary)


def parse(answer: bytes, positions: int, vocabulary: int | None = None) -> np.ndarray:
    """Return float32 [positions, vocabulary] from an answer's text; QCourseError if entries are missing."""
    start = answer.find(b'"prompt_logprobs"')
    found = ENTRY.findall(answer, max(start, 0))
    vocabulary = vocabulary or len(found) // positions
    if start < 0 or not found or len(found) != positions * vocabulary:
        raise QCourseError(
            f"the server sent {len(found):,} log-probabilities, not {positions} x {vocabulary:,}; "
            "it must run with --max-logprobs -1"
        )
    numbers = np.array(found)
    ids = numbers[:, 0].astype(np.int64).reshape(positions, vocabulary)
    table = np.full((positions, vocabulary), np.nan, dtype=np.float32)
    np.put_along_axis(
        table, ids, numbers[:, 1].astype(np.float64).astype(np.float32).reshape(ids.shape), axis=1
    )
    if np.isnan(table).any():
        raise QCourseError("the server sent some token twice and another not at all; update vLLM")
    return table


def of_rows(server: Any, start: list[int], rows: list[list[int]]) -> list[list[float]]:
    """Return the log-probability of each token of `rows` after the ids of a prompt, from any vLLM server."""
    answer = server.post("/v1/completions", model=server.model, prompt=[[*start, *row] for row in rows],
                         max_tokens=1, temperature=0, prompt_logprobs=0).json()  # fmt: skip
    found = [choice.get("prompt_logprobs") for choice in answer["choices"]]
    if len(found) != len(rows) or not all(found):
        raise QCourseError(f"{server.url} sends no prompt_logprobs, by which choices are asked; vLLM does")
    tails = [entries[len(start) :] for entries in found]
    return [
        [entry[str(token)]["logprob"] for entry, token in zip(entries, row, strict=True)]
        for entries, row in zip(tails, rows, strict=True)
    ]
