"""Log-probabilities of the whole vocabulary from a vLLM server, exact to the last bit of its float32.

vLLM answers `prompt_logprobs=-1` with a JSON object a position: {"token id": {"logprob": x, ...}, ...},
some 300 KB for 4,096 tokens. Its token-in, token-out endpoint skips much of the work that
/v1/completions adds (9 against 28 ms a token on two cores; servers without --enable-scale-out are
asked by the slower way), and a regular expression reads the answer several
times faster than a JSON parser, since only two numbers of each entry are wanted.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from qcourse.common import QCourseError
from qcourse.serve.server import Refused

if TYPE_CHECKING:
    from torch import Tensor

# Quotes inside a decoded token are escaped in JSON, so no token's text can look like an entry.
ENTRY = re.compile(rb'"(\d+)": ?\{"logprob": ?(-?[\d.]+(?:[eE][-+]?\d+)?)')
WORKERS = 3


def full_logits(server: Any, tokens: "Tensor") -> "Tensor":
    """Return log-probabilities float32 [B, T, V] after each token of int64 [B, T].

    A position's entry is what the model predicts next, so every window is sent with one more token,
    whose own value does not matter. Raises QCourseError if the window does not fit or entries are missing.
    """
    import torch

    with ThreadPoolExecutor(WORKERS) as pool:
        rows = list(
            tqdm(
                pool.map(lambda window: window_logits(server, window), tokens.tolist()),
                total=len(tokens), desc="log-probabilities over HTTP", leave=False,
                **({"disable": True} if len(tokens) < 2 else {}),
            )
        )  # fmt: skip
    return torch.from_numpy(np.stack(rows))


def window_logits(server: Any, window: list[int]) -> np.ndarray:
    """Return log-probabilities float32 [T, V] of one window."""
    prompt = [*window, window[-1]]
    wanted = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": -1}
    try:
        answer = server.post(
            "/inference/v1/generate", model=server.model, token_ids=prompt,
            sampling_params=wanted | {"detokenize": False},
        )
    except Refused as refusal:
        if refusal.status not in (403, 404):
            raise
        answer = server.post("/v1/completions", model=server.model, prompt=prompt, **wanted)
    return parse(answer.content, len(window), server.vocabulary)


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
