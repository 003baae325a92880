"""Streamed completions of an OpenAI-compatible server, many at a time, each token timed."""

import asyncio
import json
import time
from collections.abc import Coroutine
from typing import Any

import httpx

from qcourse.serve.load_figures import Answer


def run(work: Coroutine) -> Any:
    """Run a coroutine to its end, also inside a notebook, whose thread already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def request_body(model: str, prompt: str | list[int], new_tokens: int) -> dict:
    """Return a streaming completion request that runs to its full length where the server allows it."""
    return {"model": model, "prompt": prompt, "max_tokens": new_tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, "ignore_eos": True}  # fmt: skip


async def send_all(client: httpx.AsyncClient, bodies: list[dict], concurrency: int | None,
                   starts: list[float], progress: bool) -> list[Answer | str]:  # fmt: skip
    """Send every request at its time, a closed loop's when a client is free; return answers or reasons."""
    from tqdm.auto import tqdm

    open_loop = any(starts)
    gate = asyncio.Semaphore(len(bodies) or 1 if open_loop else concurrency or 1)
    begun = time.perf_counter()
    with tqdm(total=len(bodies), desc="requests", leave=False, disable=not progress) as bar:

        async def one(body: dict, at: float) -> Answer | str:
            await asyncio.sleep(max(0.0, at - (time.perf_counter() - begun)))
            async with gate:
                found = await send(client, body)
            bar.update()
            return found

        return await asyncio.gather(*map(one, bodies, starts))


async def send(client: httpx.AsyncClient, body: dict) -> Answer | str:
    """Stream one answer; return it with the times of its tokens, or why it failed."""
    start = time.perf_counter()
    times: list[float] = []
    usage, ended = {}, False
    try:
        async with client.stream("POST", "/completions", json=body) as answer:
            if answer.status_code != 200:
                return f"{answer.status_code}: {(await answer.aread()).decode(errors='replace')[:200]}"
            async for line in answer.aiter_lines():
                ended = ended or line == "data: [DONE]"
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    if "error" in event:
                        return f"error in the stream: {json.dumps(event['error'])[:200]}"
                    usage = event.get("usage") or usage
                    if event.get("choices"):
                        times.append(time.perf_counter() - start)
    except (httpx.HTTPError, ValueError) as error:
        return f"{type(error).__name__}: {error or 'the connection ended'}"
    if not ended or not times:
        return "the stream broke off before its end" if not ended else "the answer held no token"
    return Answer(tuple(times), usage.get("completion_tokens", len(times)), usage.get("prompt_tokens", 0))
