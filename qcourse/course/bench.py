"""Ours beside llm-compressor and a plain evaluation loop: seconds and quality, in one run on one machine.

`make bench` runs `python -m qcourse.course.bench`. The clock runs from tokens to codes, model loading apart.
Every speed row carries the KL divergence of the very model that was timed.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import typer

from qcourse.common import repository, write_json
from qcourse.course.display import show_table

RECIPES = {"gptq-w4g128": "llmcompressor_gptq", "awq-w4g128": "llmcompressor_awq"}
SLOW = 100.0  # seconds; a peer slower than this is timed once


def bench(model: str = "pico", sequences: int = 64, full: bool = False) -> None:
    """Time GPTQ, AWQ and evaluation on MODEL with SEQUENCES x 512 calibration tokens; write build/bench.json.

    --full repeats also the peers that are slower than 100 s five times.
    """
    from qcourse import measure, models
    from qcourse.course.artefacts import calibration_tokens

    base = models.load(model)
    calibration = calibration_tokens(base.tokenizer, sequences)
    tokens = measure.evaluation_tokens(base.tokenizer, 16, 512)
    rows = []
    for recipe in RECIPES:
        mine = timed(lambda recipe=recipe: ours(recipe, model, calibration), 5)
        theirs = timed(lambda recipe=recipe: peer(recipe, model, calibration), 5, full)
        for who, (seconds, quantized) in (("qcourse", mine), ("llm-compressor", theirs)):
            kl = measure.divergence(base.model, quantized, tokens).kl_mean
            rows.append(row(recipe, who, seconds, kl, statistics.median(theirs[0])))
            print(rows[-1], flush=True)
    rows += evaluation_rows(base, model, tokens)
    show_table(rows)
    write_json(
        repository() / "build" / "bench.json", {"model": base.hash, "sequences": sequences, "rows": rows}
    )


def row(what: str, who: str, seconds: list[float], kl: float | None, slowest: float) -> dict:
    """Return one line: the median, the spread, the KL of what was timed, the ratio to the peer."""
    median = statistics.median(seconds)
    return {"what": what, "who": who, "seconds": median, "fastest": min(seconds), "slowest": max(seconds),
            "runs": len(seconds), "KL (nats)": kl, "times faster": slowest / median}  # fmt: skip


def timed(run: Callable[[], tuple[float, Any]], repeats: int, full: bool = True) -> tuple[list[float], Any]:
    """Return the seconds of each run and the last result; alone if slower than SLOW and not full."""
    seconds, result = run()
    found = [seconds]
    while len(found) < repeats and (full or found[0] <= SLOW):
        seconds, result = run()
        found.append(seconds)
    return found, result


def ours(recipe: str, model: str, calibration: Any) -> tuple[float, Any]:
    """Quantize a freshly loaded model by this package; return the seconds and the model."""
    from qcourse import models
    from qcourse.quantize import quantize
    from qcourse.recipe import named

    fresh = models.load(model).model
    start = time.perf_counter()
    result = quantize(fresh, named(recipe), calibration, progress=False)
    return time.perf_counter() - start, result.model


def peer(recipe: str, model: str, calibration: Any) -> tuple[float, Any]:
    """Quantize a freshly loaded model by llm-compressor; return the seconds and the model."""
    from qcourse import models
    from qcourse.course import library

    fresh = models.load(model)
    start = time.perf_counter()
    getattr(library, RECIPES[recipe])(fresh.model, fresh.tokenizer, calibration)
    return time.perf_counter() - start, fresh.model


def evaluation_rows(base: Any, model: str, tokens: Any) -> list[dict]:
    """Time perplexity by the yardstick in bf16 and by a plain loop in fp32, on the same tokens."""
    from qcourse import measure, models

    exact = models.load(model, dtype="float32").model
    mine = timed(lambda: clocked(lambda: measure.perplexity(base.model, tokens).value), 5)
    plain = timed(lambda: clocked(lambda: plain_perplexity(exact, tokens.tokens)), 5)
    slow = statistics.median(plain[0])
    return [row(f"perplexity {value:.4f}", who, seconds, None, slow)
            for who, (seconds, value) in (("qcourse, bf16", mine), ("plain loop, fp32", plain))]  # fmt: skip


def clocked(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds a function took, and what it returned."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def plain_perplexity(model: Any, tokens: Any) -> float:
    """Return perplexity by the loop of most tutorials: one window at a time, the model's own loss."""
    import torch

    with torch.no_grad():
        losses = [float(model(input_ids=window[None], labels=window[None]).loss) for window in tokens]
    return float(torch.tensor(losses).mean().exp())


if __name__ == "__main__":
    typer.run(bench)
