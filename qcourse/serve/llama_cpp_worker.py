"""llama.cpp behind HTTP in a process of its own: an OpenAI-style API and the exact logits of token ids.

Started by path with the Python that has llama-cpp-python; imports nothing of the course.
POST /logits {"tokens": [ids]} answers float32 [T, V] in this machine's byte order.
"""

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any

import llama_cpp
from llama_cpp_answers import Answers  # beside this file
from llama_cpp_engine import Engine, without_extra_buffers


class Handler(BaseHTTPRequestHandler):
    """Routes of the worker."""

    engine: Engine
    answers: Answers
    key = os.environ.get("QCOURSE_API_KEY", "")
    protocol_version = "HTTP/1.1"

    def allowed(self) -> bool:
        """Return whether the request may be answered; one with a wrong key gets 401."""
        given, wanted = self.headers.get("Authorization", ""), f"Bearer {self.key}"
        if not self.key or secrets.compare_digest(given.encode(), wanted.encode()):
            return True
        self.close_connection = True  # the body is not read
        self.refuse(401, "wrong API key")
        return False

    def do_GET(self) -> None:
        """Answer /health, and with the key /v1/models, /info and /metrics."""
        engine = self.engine
        if self.path != "/health" and not self.allowed():
            return
        if self.path == "/metrics":
            self.send(engine.metrics().encode(), "text/plain; version=0.0.4")
            return
        pages = {
            "/health": {"status": "ok"},
            "/v1/models": {"object": "list", "data": [{"id": engine.options.name, "object": "model"}]},
            "/info": {"chat_template": engine.has_template, "vocabulary": engine.generator.n_vocab(),
                      "context": engine.options.context, "version": llama_cpp.__version__},
        }  # fmt: skip
        if self.path in pages:
            self.reply(pages[self.path])
        else:
            self.refuse(404, f"no page {self.path}")

    def do_POST(self) -> None:
        """Answer /logits, /log_probabilities, /times, /v1/completions and /v1/chat/completions."""
        if not self.allowed():
            return
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if not isinstance(body, dict):
                raise TypeError("a request is a JSON object")
            if self.path == "/logits":
                self.send(self.engine.logits(body["tokens"]).tobytes(), "application/octet-stream")
            elif self.path == "/log_probabilities":
                self.reply(self.engine.log_probabilities(body["start"], body["rows"]))
            elif self.path == "/times":
                self.reply(self.engine.times(body["tokens"], body["new_tokens"]))
            elif self.path in ("/v1/completions", "/v1/chat/completions"):
                # Closed at the end: a caller who left must not hold the engine.
                with closing(self.answers.complete(body, chat="chat" in self.path)) as events:
                    self.stream(events) if body.get("stream") else self.reply(next(events))
            else:
                self.refuse(404, f"no page {self.path}")
        except (ValueError, KeyError, TypeError) as error:
            self.refuse(400, f"{type(error).__name__}: {error}")
        except RuntimeError as error:  # llama.cpp could not compute
            self.refuse(500, f"RuntimeError: {error}")
        except ConnectionError:
            self.log_message("%s went away", self.client_address[0])
            self.close_connection = True

    def stream(self, events: Iterator[dict]) -> None:
        """Send server-sent events, closing the connection after the last."""
        first = next(events)  # a refused request fails here, before the headers are out
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in chain([first], events):  # one by one, as they are made
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def refuse(self, status: int, reason: str) -> None:
        """Send an error as OpenAI's servers do."""
        self.reply({"error": {"message": reason}}, status)

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


class Forgiving:
    """A text stream whose writes may fail: a full disk must not cost an answer."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        """Return what the stream has."""
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, or lose the text."""
        with suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or lose what is waiting."""
        with suppress(OSError):
            self.stream.flush()


class Server(ThreadingHTTPServer):
    """Keeps callers waiting instead of resetting them: the standard library queues only five."""

    request_queue_size = 1024


def main() -> None:
    """Load the file, then serve it until the process is ended."""
    parser = argparse.ArgumentParser()
    for name in ("--model", "--name", "--kv"):
        parser.add_argument(name, required=True)
    for name in ("--port", "--context", "--threads"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    sys.stdout, sys.stderr = Forgiving(sys.stdout), Forgiving(sys.stderr)
    without_extra_buffers()
    Handler.engine = Engine(options)
    Handler.answers = Answers(Handler.engine)
    Server(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
