"""OpenAI-style answers of a GGUF file in llama.cpp, whole or streamed; imports nothing of the course."""

import time
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import Any

SETTINGS = ("top_p", "top_k", "min_p", "repeat_penalty", "temperature", "max_tokens", "stop", "seed")


class Answers:
    """What /v1/completions and /v1/chat/completions answer; engine: an Engine of llama_cpp_engine."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def complete(self, body: dict, chat: bool) -> Iterator[dict]:
        """Yield the answer's events; a single one unless the body asks for a stream."""
        with self.engine.turn():
            yield from self.chat(body) if chat else self.completion(body)

    def chat(self, body: dict) -> Iterator[dict]:
        """Yield the events of an answer to messages, as the library makes them."""
        settings = {name: body[name] for name in SETTINGS
                    if body.get(name) is not None}  # fmt: skip
        settings |= {"stream": bool(body.get("stream")), "model": self.engine.options.name}
        settings.setdefault("max_tokens", 128)
        if body.get("grammar"):
            settings["grammar"] = self.engine.grammar(body["grammar"])
        answer = self.engine.generator.create_chat_completion(body["messages"], **settings)
        for event in answer if settings["stream"] else [answer]:
            self.engine.counts["tokens_predicted_total"] += event.get("usage", {}).get("completion_tokens", 1)
            yield event

    def completion(self, body: dict) -> Iterator[dict]:
        """Yield one event a token, also for one that ends no character, then the counts; or all in one.

        With stop texts the answer is one event: a part of a stop text must not be sent before the rest.
        """
        prompt, stop = self.engine.tokens(body["prompt"]), body.get("stop") or []
        stop, whole = [stop] if isinstance(stop, str) else stop, not body.get("stream")
        text, made, reason = "", 0, "length"
        decoder = getincrementaldecoder("utf-8")("ignore")
        for token in self.engine.generated(prompt, body):
            if token == self.engine.generator.token_eos() or any(word in text for word in stop):
                reason = "stop"
                break
            made += 1
            self.engine.counts["tokens_predicted_total"] += 1
            piece = decoder.decode(self.engine.generator.detokenize([token]))
            text += piece
            if not whole and not stop:
                yield self.event(piece)
        for word in stop:
            text = text.split(word)[0]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": made, "total_tokens": len(prompt) + made}
        if whole or stop:
            yield self.event(text, reason) | {"usage": usage}
        else:
            yield self.event("", reason)
            yield {"choices": [], "usage": usage}

    def event(self, text: str, reason: str | None = None) -> dict:
        """Return an answer, or a piece of one."""
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return {"id": "cmpl", "object": "text_completion", "created": int(time.time()),
                "model": self.engine.options.name, "choices": [choice]}  # fmt: skip
