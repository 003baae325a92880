"""A load test of any OpenAI-compatible URL: times to first token and per token, throughput, failures."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, quantiles
from typing import Any

import httpx

from qcourse.common import QCourseError

SYLLABLES = ("ka", "lo", "mi", "ren", "sto", "va", "ul", "pe", "dra", "nis", "tor", "wi")


@dataclass(frozen=True)
class LoadTest:
    """What a run showed; times in seconds. `errors` are the reasons of failed requests.

    ttft: to the first token; tpot: per further token; both as mean, median and 95th percentile.
    """

    concurrency: int
    requests: int
    seconds: float
    output_tokens: int
    prompt_tokens: int
    ttft: dict[str, float]
    tpot: dict[str, float]
    output_tokens_per_second: float
    requests_per_second: float
    errors: list[str] = field(default_factory=list)

    def asdict(self) -> dict[str, Any]:
        """Return the fields as a dict, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """One streamed answer: seconds to its first and last token, and the tokens that the server counted."""

    first: float
    last: float
    output_tokens: int
    prompt_tokens: int


def loadtest(
    url: str,
    concurrency: int = 4,
    n_requests: int = 16,
    *,
    prompt_words: int = 40,
    new_tokens: int = 32,
    prompts: Sequence[str | list[int]] | None = None,
    model: str | None = None,
    timeout: float = 300,
    seed: int = 0,
) -> LoadTest:
    """Send n_requests completions, at most `concurrency` at a time, and stream the answers.

    prompts: texts or token ids, taken in turn (default: random words, so that no prefix is cached).
    Raises QCourseError if the URL does not answer as an OpenAI server, or if every request fails.
    """
    if concurrency < 1 or n_requests < 1:
        raise QCourseError(
            f"{n_requests} requests at concurrency {concurrency} test nothing; give at least 1"
        )
    base = url.rstrip("/").removesuffix("/v1") + "/v1"
    model = model or served_model(base)
    texts = prompts or random_prompts(n_requests, prompt_words, seed)
    bodies = [request_body(model, texts[i % len(texts)], new_tokens) for i in range(n_requests)]
    start = time.perf_counter()
    found = run(send_all(base, bodies, concurrency, timeout))
    return summary(found, concurrency, time.perf_counter() - start)


def run(work: Any) -> Any:
    """Run a coroutine to its end, also inside a notebook, whose thread already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def served_model(base: str) -> str:
    """Return the first model that the server lists; QCourseError if it lists none."""
    try:
        answer = httpx.get(f"{base}/models", timeout=10)
        answer.raise_for_status()
        return answer.json()["data"][0]["id"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise QCourseError(f"{base} does not answer as an OpenAI server: {error}; check the URL") from error


def random_prompts(count: int, words: int, seed: int) -> list[str]:
    """Return texts of invented words, each beginning differently."""
    chooser = random.Random(seed)
    return [
        " ".join("".join(chooser.choices(SYLLABLES, k=chooser.randint(1, 3))) for _ in range(words))
        for _ in range(count)
    ]


def request_body(model: str, prompt: str | list[int], new_tokens: int) -> dict:
    """Return a streaming completion request that runs to its full length where the server allows it."""
    return {"model": model, "prompt": prompt, "max_tokens": new_tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, "ignore_eos": True}  # fmt: skip


async def send_all(base: str, bodies: list[dict], concurrency: int, timeout: float) -> list[Answer | str]:
    """Send the requests, at most `concurrency` at a time; return answers or the reasons of failures."""
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(base_url=base, timeout=timeout, limits=limits) as client:
        gate = asyncio.Semaphore(concurrency)
        return await asyncio.gather(*(send(client, gate, body) for body in bodies))


async def send(client: httpx.AsyncClient, gate: asyncio.Semaphore, body: dict) -> Answer | str:
    """Stream one answer and time its tokens."""
    async with gate:
        start = time.perf_counter()
        times: list[float] = []
        usage: dict = {}
        try:
            async with client.stream("POST", "/completions", json=body) as answer:
                if answer.status_code != 200:
                    return f"{answer.status_code}: {(await answer.aread()).decode(errors='replace')[:200]}"
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        event = json.loads(line.removeprefix("data: "))
                        usage = event.get("usage") or usage
                        if event.get("choices"):
                            times.append(time.perf_counter() - start)
        except (httpx.HTTPError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        if not times:
            return "the answer held no token"
        return Answer(
            times[0], times[-1], usage.get("completion_tokens", len(times)), usage.get("prompt_tokens", 0)
        )


def summary(found: list[Answer | str], concurrency: int, seconds: float) -> LoadTest:
    """Return the figures of a run; QCourseError with the first reason if no request succeeded."""
    answers = [item for item in found if isinstance(item, Answer)]
    errors = [item for item in found if isinstance(item, str)]
    if not answers:
        raise QCourseError(f"all {len(found)} requests failed, the first with: {errors[0]}")
    tokens = sum(item.output_tokens for item in answers)
    per_token = [
        (item.last - item.first) / (item.output_tokens - 1) for item in answers if item.output_tokens > 1
    ]
    return LoadTest(
        concurrency, len(found), seconds, tokens, sum(item.prompt_tokens for item in answers),
        spread([item.first for item in answers]), spread(per_token or [float("nan")]),
        tokens / seconds, len(answers) / seconds, errors,
    )  # fmt: skip


def spread(values: list[float]) -> dict[str, float]:
    """Return mean, median and 95th percentile."""
    cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
    return {"mean": mean(values), "p50": cuts[9], "p95": cuts[18]}
