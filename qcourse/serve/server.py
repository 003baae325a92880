"""What both engines' servers have in common: an address, a client, greedy answers, timing, an end."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from qcourse.common import QCourseError, content_hash
from qcourse.common.gguf_files import served_name
from qcourse.common.latency import Latency
from qcourse.serve.keys import headers
from qcourse.serve.logs import cause
from qcourse.serve.process import ServerProcess

if TYPE_CHECKING:
    from openai import OpenAI

TIMEOUT = 600.0  # seconds: one request for all log-probabilities of a long prompt takes a while


class Refused(QCourseError):
    """An answer other than 200; `status` holds its number."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Server:
    """A running server; a context manager that ends it. Serves as a logit source for `qcourse.measure`."""

    engine, dtype = "server", ""
    model_hash: str | None = None
    vocabulary: int | None = None
    threads: int | None = None
    versions: dict[str, str] = {}

    def __init__(self, path: Path, port: int, process: ServerProcess, api_key: str = "") -> None:
        self.path, self.port, self.process = path, port, process
        self.model = served_name(path)
        self.has_chat_template = True
        self.connect(f"http://127.0.0.1:{port}", api_key)

    def connect(self, url: str, api_key: str | None) -> None:
        """Take the address and the key that every request carries; None: that of the environment."""
        self.url, self.api_key = url, api_key
        # No connection is kept: servers close idle ones, and a request on a closing one fails.
        once = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=url, timeout=TIMEOUT, limits=once, headers=headers(api_key))

    @property
    def log(self) -> Path:
        """The file that holds all that the engine printed."""
        return self.process.log

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The process whose children are the engine, for measuring its memory."""
        return (self.process.pid,)

    @cached_property
    def client(self) -> "OpenAI":
        """An OpenAI client of this server; its model name is `server.model`."""
        from openai import OpenAI

        return OpenAI(base_url=f"{self.url}/v1", api_key="none", timeout=TIMEOUT,
                      default_headers=headers(self.api_key))  # fmt: skip

    @property
    def settings(self) -> tuple[str, ...]:
        """What decides the numbers beside the files, such as the type of the KV cache."""
        return ()

    @cached_property
    def hash(self) -> str:
        """What is served and how: the first 16 hex digits of the files' hash, then the settings."""
        return "-".join((content_hash(self.path)[:16], *self.settings))

    def start(self, timeout: float, progress: bool) -> "Server":
        """Wait until requests are answered; on failure end everything and raise QCourseError."""
        try:
            self.process.wait(self.healthy, timeout, progress)
            self.check_report()
        except BaseException:
            self.stop()
            raise
        return self

    def check_report(self) -> None:
        """Raise QCourseError where the engine's own report differs from what was asked."""

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return self.http.get("/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def post(self, path: str, **body: Any) -> httpx.Response:
        """Return the answer to a JSON request; QCourseError with the server's own reason for a refusal."""
        try:
            answer = self.http.post(path, json=body)
        except httpx.HTTPError as error:
            reason = str(error) if self.process.running else f"it stopped: {cause(self.log)}"
            raise QCourseError(f"{self.engine} gave no answer: {reason} (log: {self.log})") from error
        if answer.status_code != 200:
            reason = f"{self.engine} refused {path} ({answer.status_code}): {answer.text[:300]}"
            raise Refused(reason, answer.status_code)
        return answer

    def generate(self, messages: list[list[dict]], max_new_tokens: list[int]) -> list[str]:
        """Return greedy answers to chats, in order; a model without chat template gets the bare prompt."""
        return self.constrained(messages, max_new_tokens)

    def constrained(self, messages: list[list[dict]], max_new_tokens: list[int], **options: Any) -> list[str]:
        """Return greedy answers as `generate`, under options such as llama.cpp's `grammar`.

        options: further fields of each request; vLLM's for a JSON schema is `response_format`.
        """
        with ThreadPoolExecutor(32) as pool:
            return list(pool.map(partial(self.answer, **options), messages, max_new_tokens))

    def answer(self, chat: list[dict], limit: int, **options: Any) -> str:
        """Return one greedy answer of at most `limit` tokens."""
        body = {"model": self.model, "max_tokens": limit, "temperature": 0, **options}
        if self.has_chat_template:
            choice = self.post("/v1/chat/completions", messages=chat, **body).json()["choices"][0]
            return choice["message"]["content"] or ""
        prompt = f"{chat[-1]['content']}\n"
        return self.post("/v1/completions", prompt=prompt, **body).json()["choices"][0]["text"]

    def latency(self, batch: int, prompt_tokens: int, new_tokens: int, repeats: int = 3) -> Latency:
        """Return the times of `batch` concurrent streams."""
        from qcourse.serve.timing import server_latency

        return server_latency(self, batch, prompt_tokens, new_tokens, repeats)

    def stop(self) -> None:
        """End the server and all its processes."""
        self.http.close()
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
