"""A server that somebody else runs, by its URL: answers and timing, and a vLLM's log-probabilities."""

from types import SimpleNamespace
from typing import TYPE_CHECKING

from qcourse.serve.loadtest import served_model
from qcourse.serve.server import Server
from qcourse.serve.vllm_logits import from_text, full_logits, of_rows

if TYPE_CHECKING:
    from torch import Tensor


class RemoteServer(Server):
    """An OpenAI-compatible URL as a source for `qcourse.measure`; `stop()` only closes the connection."""

    engine = "url"
    hash = None  # nobody can tell what a URL serves: results are never taken from the cache

    def __init__(self, url: str, vocabulary: int | None = None, api_key: str | None = None) -> None:
        self.connect(url.rstrip("/").removesuffix("/v1"), api_key)
        self.model = served_model(f"{self.url}/v1", api_key)
        self.vocabulary = vocabulary
        self.has_chat_template = True
        self.process = SimpleNamespace(running=True, log=self.url, stop=lambda: None)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """No process of this machine."""
        return ()

    def logits(self, tokens: "Tensor") -> "Tensor":
        """Return log-probabilities float32 [B, T, V] after each token; QCourseError if it gives none."""
        return full_logits(self, tokens, from_text)

    def log_probabilities(self, start: list[int], rows: list[list[int]]) -> list[list[float]]:
        """Return the log-probability of each token of `rows` after the ids of a prompt."""
        return of_rows(self, start, rows)


def connect(url: str, vocabulary: int | None = None, api_key: str | None = None) -> RemoteServer:
    """Return a server by its URL, with or without /v1; QCourseError if no OpenAI server answers.

    vocabulary: number of tokens, default what its log-probabilities show; api_key: default QCOURSE_API_KEY.
    """
    return RemoteServer(url, vocabulary, api_key)
