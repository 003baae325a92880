"""llama.cpp behind HTTP in a process of its own: an OpenAI-style API and the exact logits of token ids.

Started by path with the Python that has llama-cpp-python; imports nothing of the course.
POST /logits {"tokens": [ids]} answers float32 [T, V] in this machine's byte order.
"""

import argparse
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

import llama_cpp
import numpy as np

SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "repeat_penalty")


def without_extra_buffers() -> None:
    """Make plain buffers the default: on a CPU with AMX the extra ones crash with every quantized file."""
    defaults = llama_cpp.llama_model_default_params

    def wrapped() -> Any:
        params = defaults()
        params.use_extra_bufts = False
        return params

    llama_cpp.llama_model_default_params = wrapped
    llama_cpp.llama_cpp.llama_model_default_params = wrapped


class Engine:
    """One GGUF file: a context for generation, and one that keeps all logits, made when first asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.lock = options, threading.Lock()
        self.generator = self.load(logits_all=False)
        self.scorer: llama_cpp.Llama | None = None
        self.has_template = "tokenizer.chat_template" in self.generator.metadata

    def load(self, logits_all: bool) -> llama_cpp.Llama:
        """Return the model with a context of its own; the file's pages are shared."""
        kind = getattr(llama_cpp, f"GGML_TYPE_{self.options.kv.upper()}")
        return llama_cpp.Llama(
            self.options.model, n_ctx=self.options.context, n_threads=self.options.threads,
            n_threads_batch=self.options.threads, logits_all=logits_all, verbose=self.options.verbose,
            type_k=kind, type_v=kind, flash_attn=self.options.kv == "q8_0",
        )  # fmt: skip

    def logits(self, tokens: list[int]) -> np.ndarray:
        """Return float32 [T, V] after each of the tokens, from an empty cache."""
        if not 0 < len(tokens) <= self.options.context:
            raise ValueError(f"{len(tokens)} tokens do not fit the context of {self.options.context}")
        if not all(isinstance(token, int) and 0 <= token < self.generator.n_vocab() for token in tokens):
            raise ValueError(f"token ids must lie in 0..{self.generator.n_vocab() - 1}")
        with self.lock:
            self.scorer = self.scorer or self.load(logits_all=True)
            self.scorer.reset()
            self.scorer.eval(tokens)
            return self.scorer.scores[: len(tokens)].copy()

    def times(self, tokens: list[int], new_tokens: int) -> list[float]:
        """Return the seconds from the start to each of the greedily decoded tokens."""
        with self.lock:
            self.generator.reset()
            start = time.perf_counter()
            made = islice(self.generator.generate(tokens, temp=0), new_tokens)
            return [time.perf_counter() - start for _ in made]

    def complete(self, body: dict, chat: bool) -> Iterator[dict]:
        """Yield the answer's events; a single one unless the body asks for a stream."""
        settings = {name: body[name] for name in SAMPLING if body.get(name) is not None}
        settings |= {"stream": bool(body.get("stream")), "model": self.options.name}
        settings.setdefault("max_tokens", 128)
        if body.get("ignore_eos"):
            settings["logit_bias"] = {self.generator.token_eos(): -1e9}
        with self.lock:
            if chat:
                answer = self.generator.create_chat_completion(body["messages"], **settings)
                yield from answer if settings["stream"] else [answer]
                return
            prompt = self.tokens(body["prompt"])
            answer = self.generator.create_completion(prompt, **settings)
            yield from answer if settings["stream"] else [answer]
            if settings["stream"]:
                # The last token is usually, not always, left unevaluated.
                made = min(self.generator.n_tokens - len(prompt) + 1, settings["max_tokens"])
                yield {"choices": [], "usage": {"prompt_tokens": len(prompt), "completion_tokens": made}}

    def tokens(self, prompt: str | list[int]) -> list[int]:
        """Return a prompt's ids; text gets the begin token if the file asks for it."""
        return self.generator.tokenize(prompt.encode(), special=True) if isinstance(prompt, str) else prompt


class Handler(BaseHTTPRequestHandler):
    """Routes of the worker."""

    engine: Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer /health, /v1/models and /info."""
        engine = self.engine
        pages = {
            "/health": {"status": "ok"},
            "/v1/models": {"object": "list", "data": [{"id": engine.options.name, "object": "model"}]},
            "/info": {"chat_template": engine.has_template, "vocabulary": engine.generator.n_vocab(),
                      "context": engine.options.context, "version": llama_cpp.__version__},
        }  # fmt: skip
        self.reply(
            pages.get(self.path, {"error": {"message": f"no page {self.path}"}}),
            200 if self.path in pages else 404,
        )

    def do_POST(self) -> None:
        """Answer /logits, /times, /v1/completions and /v1/chat/completions."""
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if self.path == "/logits":
                self.send(self.engine.logits(body["tokens"]).tobytes(), "application/octet-stream")
            elif self.path == "/times":
                self.reply(self.engine.times(body["tokens"], body["new_tokens"]))
            elif self.path in ("/v1/completions", "/v1/chat/completions"):
                events = self.engine.complete(body, chat="chat" in self.path)
                self.stream(events) if body.get("stream") else self.reply(next(events))
            else:
                self.reply({"error": {"message": f"no page {self.path}"}}, 404)
        except (ValueError, KeyError, TypeError) as error:
            self.reply({"error": {"message": f"{type(error).__name__}: {error}"}}, 400)

    def stream(self, events: Iterator[dict]) -> None:
        """Send server-sent events, closing the connection after the last."""
        first = next(events)  # a refused request fails here, before the headers are out
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in (first, *events):
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def reply(self, value: dict | list, status: int = 200) -> None:
        """Send a JSON object."""
        self.send(json.dumps(value).encode(), "application/json", status)

    def send(self, content: bytes, kind: str, status: int = 200) -> None:
        """Send a whole body."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *values: Any) -> None:
        """Log one line a request."""
        print(time.strftime("%H:%M:%S"), format % values, flush=True)


class Server(ThreadingHTTPServer):
    """Keeps callers waiting instead of resetting them: the standard library queues only five."""

    request_queue_size = 128


def main() -> None:
    """Load the file, then serve it until the process is ended."""
    parser = argparse.ArgumentParser()
    for name in ("--model", "--name", "--kv"):
        parser.add_argument(name, required=True)
    for name in ("--port", "--context", "--threads"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    without_extra_buffers()
    Handler.engine = Engine(options)
    Server(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
