"""A load test of any OpenAI-compatible URL: requests in a closed or an open loop, each answer timed."""

import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from qcourse.common import QCourseError, read_text
from qcourse.serve.keys import VARIABLE, headers
from qcourse.serve.load_figures import Answer, LoadTest, summary
from qcourse.serve.streams import request_body, run, send_all

# Ids that every vocabulary of 512 or more has, none of them a special token of the usual families.
TOKENS = range(256, 512)
LIMITS = ("ttft", "tpot", "e2e")


def loadtest(
    url: str,
    concurrency: int | None = 4,
    n_requests: int = 16,
    *,
    rate: float | None = None,
    prompt_tokens: int = 64,
    new_tokens: int = 32,
    lengths: Sequence[tuple[int, int]] | None = None,
    prompts: Sequence[str | list[int]] | None = None,
    limits: Mapping[str, float] | None = None,
    warmup: int | None = None,
    model: str | None = None,
    api_key: str | None = None,
    timeout: float = 300,
    seed: int | None = None,
    progress: bool = False,
) -> LoadTest:
    """Send n_requests completions and stream the answers, after `warmup` requests that do not count.

    Closed loop: `concurrency` clients, each sends again when its answer is there. Open loop: `rate` requests
    a second on average, at the times of a Poisson process, whatever is still unanswered.
    lengths: (prompt, output) tokens to draw from, default the two given; prompts: texts or token ids taken in
    turn, default random ids that were never sent before, so that no prefix is cached. warmup: default one a
    client, at most 4. limits: of ttft, tpot, e2e in seconds, for goodput. seed: None for fresh prompts.
    Raises QCourseError if the URL does not answer as an OpenAI server, or if every request fails.
    """
    check(concurrency, rate, n_requests, limits)
    base = url.rstrip("/").removesuffix("/v1") + "/v1"
    model = model or served_model(base, api_key)
    chooser = random.Random(seed)
    warm = min(4, concurrency or 1) if warmup is None else warmup
    sizes = chooser.choices(lengths or [(prompt_tokens, new_tokens)], k=warm + n_requests)
    asked = [(prompts[i % len(prompts)], out) if prompts else (random_prompt(size, chooser), out)
             for i, (size, out) in enumerate(sizes)]  # fmt: skip
    bodies = [request_body(model, prompt, out) for prompt, out in asked]
    starts = arrivals(n_requests, rate, chooser)
    found, seconds = run(timed(bodies[:warm], bodies[warm:], concurrency, starts, progress,
                               base_url=base, timeout=timeout, headers=headers(api_key)))  # fmt: skip
    return summary(found, seconds, concurrency=None if rate else concurrency, rate=rate, limits=limits)


async def timed(warm: list[dict], bodies: list[dict], concurrency: int | None, starts: list[float],
                progress: bool, **connection: Any) -> tuple[list[Answer | str], float]:  # fmt: skip
    """Return the answers to `bodies`, sent after `warm`, and the seconds of the former."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, **connection) as client:
        await send_all(client, warm, concurrency, [0.0] * len(warm), progress=False)
        start = time.perf_counter()
        found = await send_all(client, bodies, concurrency, starts, progress)
        return found, time.perf_counter() - start


def check(concurrency: int | None, rate: float | None, n: int, limits: Mapping[str, float] | None) -> None:
    """Raise QCourseError for a load that is none, and for limits of unknown times."""
    if n < 1 or (rate is None and (concurrency or 0) < 1) or (rate is not None and not 0 < rate < 1e6):
        load = f"at {rate} a second" if rate is not None else f"at concurrency {concurrency}"
        raise QCourseError(f"{n} requests {load} test nothing; give at least 1, and a rate above 0")
    if unknown := sorted(set(limits or ()) - set(LIMITS)):
        raise QCourseError(f"no limit can be set on {', '.join(unknown)}; known are {', '.join(LIMITS)}")


def read_lengths(path: Path) -> list[tuple[int, int]]:
    """Return (prompt, output) tokens of a JSONL file of {"prompt_tokens": n, "output_tokens": m} lines."""
    try:
        rows = [json.loads(line) for line in read_text(path).splitlines() if line.strip()]
        found = [(int(row["prompt_tokens"]), int(row["output_tokens"])) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise QCourseError(
            f'{path} must hold lines such as {{"prompt_tokens": 300, "output_tokens": 80}}: {error}'
        ) from error
    if not found or min(map(min, found)) < 1:
        raise QCourseError(f"{path} must hold at least one line, and lengths of at least 1")
    return found


def random_prompt(tokens: int, chooser: random.Random) -> list[int]:
    """Return a prompt of random token ids."""
    return chooser.choices(TOKENS, k=tokens)


def arrivals(count: int, rate: float | None, chooser: random.Random) -> list[float]:
    """Return the seconds at which requests are sent: gaps of a Poisson process, all 0 for a closed loop."""
    now, found = 0.0, []
    for _ in range(count):
        found.append(now)
        now += chooser.expovariate(rate) if rate else 0.0
    return found


def served_model(base: str, api_key: str | None = None) -> str:
    """Return the first model that the server lists; QCourseError if it lists none or wants another key."""
    try:
        answer = httpx.get(f"{base}/models", timeout=10, headers=headers(api_key))
        if answer.status_code == 401:
            raise QCourseError(f"{base} wants another API key (401); give it by --api-key or {VARIABLE}")
        answer.raise_for_status()
        return answer.json()["data"][0]["id"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise QCourseError(f"{base} does not answer as an OpenAI server: {error}; check the URL") from error
