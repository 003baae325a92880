"""A server that somebody else started, as something to measure."""

from types import SimpleNamespace
from typing import Any

import httpx
from torch import Tensor

from qcourse.serve import Server
from qcourse.serve.loadtest import served_model
from qcourse.serve.server import TIMEOUT


class Remote(Server):
    """A running OpenAI-compatible server; `logits` needs vLLM as `qcourse serve` starts it."""

    engine = "http"
    dtype = ""

    def __init__(self, url: str, tokenizer: Any) -> None:
        base = url.rstrip("/").removesuffix("/v1")
        self.url, self.vocabulary = base, len(tokenizer)
        self.name = self.model = self.hash = served_model(f"{base}/v1")
        self.has_chat_template = bool(tokenizer.chat_template)
        self.http = httpx.Client(base_url=base, timeout=TIMEOUT)
        self.process = SimpleNamespace(running=True, stop=lambda: None, log=base)

    def logits(self, tokens: Tensor) -> Tensor:
        """Return log-probabilities float32 [B, T, V] of the whole vocabulary."""
        from qcourse.serve.vllm_logits import full_logits

        return full_logits(self, tokens)
