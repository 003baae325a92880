"""One GGUF file in llama.cpp: exact logits, token times, generated tokens; imports nothing of the course."""

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from os.path import commonprefix
from typing import Any

import llama_cpp
import numpy as np

SAMPLING = ("top_p", "top_k", "min_p", "repeat_penalty")


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
        self.counts = dict.fromkeys(("requests_deferred", "requests_processing", "tokens_predicted_total"), 0)
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
        tokens = self.tokens(tokens)
        with self.lock:
            self.scorer = self.scorer or self.load(logits_all=True)
            self.scorer.reset()
            self.scorer.eval(tokens)
            return self.scorer.scores[: len(tokens)].copy()

    def log_probabilities(self, start: list[int], rows: list[list[int]]) -> list[list[float]]:
        """Return the log-probability of each token of `rows` after the prompt, which is read once.

        What the prompt shares with the one before it stays in the cache.
        """
        if not start or len(start) + max(map(len, rows)) > self.options.context:
            raise ValueError(f"the rows do not fit the context of {self.options.context}")
        start, rows = self.tokens(start), [self.tokens(row) for row in rows]
        with self.lock:
            scorer = self.scorer = self.scorer or self.load(logits_all=True)
            before = scorer.input_ids[: scorer.n_tokens].tolist()
            scorer.n_tokens = min(len(commonprefix([before, start])), len(start) - 1)
            scorer.eval(start[scorer.n_tokens :])
            return [self.row(scorer, len(start), row) for row in rows]

    def row(self, scorer: llama_cpp.Llama, after: int, row: list[int]) -> list[float]:
        """Return the log-probability of each token of a row that follows the first `after` tokens."""
        scorer.n_tokens = after  # the rows before this one are forgotten
        scorer.eval(row)
        logits = scorer.scores[after - 1 : after + len(row) - 1].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        found = logits[range(len(row)), row] - np.log(np.exp(logits).sum(-1))
        return found.tolist()

    def times(self, tokens: list[int], new_tokens: int) -> list[float]:
        """Return the seconds from the start to each of the greedily decoded tokens."""
        with self.lock:
            self.generator.reset()
            start = time.perf_counter()
            made = islice(self.generator.generate(tokens, temp=0), new_tokens)
            return [time.perf_counter() - start for _ in made]

    def generated(self, prompt: list[int], body: dict) -> Iterator[int]:
        """Yield up to max_tokens tokens after a prompt; ValueError for one that leaves no room for any."""
        room = self.options.context - len(prompt)
        if not prompt or room < 1:
            raise ValueError(f"{len(prompt)} tokens leave no room in a context of {self.options.context}")
        settings = {name: body[name] for name in SAMPLING if body.get(name) is not None}
        if body.get("seed") is not None:
            self.generator.set_seed(body["seed"])
        if body.get("grammar"):
            settings["grammar"] = self.grammar(body["grammar"])
        if body.get("ignore_eos"):
            settings["logits_processor"] = llama_cpp.LogitsProcessorList([self.without_end])
        temperature = body.get("temperature", 0.8)
        limit = min(room, body.get("max_tokens") or 128)
        return islice(self.generator.generate(prompt, temp=temperature, **settings), limit)

    def grammar(self, text: str) -> llama_cpp.LlamaGrammar:
        """Return a GBNF grammar; ValueError for one that llama.cpp cannot read: used, it ends the process."""
        vocabulary = llama_cpp.llama_model_get_vocab(self.generator.model)
        sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, text.encode(), b"root")
        if not sampler:
            raise ValueError("the grammar is no GBNF with a rule named root")
        llama_cpp.llama_sampler_free(sampler)
        return llama_cpp.LlamaGrammar.from_string(text, verbose=False)

    def without_end(self, tokens: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Forbid the end of the answer."""
        scores[self.generator.token_eos()] = -np.inf
        return scores

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the engine and hold it for one request, counted as deferred, then as processing."""
        self.counts["requests_deferred"] += 1
        with self.lock:
            self.counts["requests_deferred"] -= 1
            self.counts["requests_processing"] += 1
            try:
                yield
            finally:
                self.counts["requests_processing"] -= 1

    def metrics(self) -> str:
        """Return the counts as Prometheus text, under the names of llama.cpp's own server."""
        return "".join(f"llamacpp:{name} {value}\n" for name, value in self.counts.items())

    def tokens(self, prompt: str | list[int]) -> list[int]:
        """Return a prompt's ids; text gets the begin token if the file asks for it. ValueError for others."""
        if isinstance(prompt, str):
            return self.generator.tokenize(prompt.encode(), special=True)
        if not isinstance(prompt, list) or not all(
            isinstance(token, int) and 0 <= token < self.generator.n_vocab() for token in prompt
        ):
            raise ValueError(f"a prompt is a text or token ids in 0..{self.generator.n_vocab() - 1}")
        return prompt
