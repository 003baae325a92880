"""GPTQ and AWQ, ours beside other libraries: seconds from tokens to codes, and the KL of what was timed."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qcourse.bench.speed import floor
from qcourse.bench.speed.clock import Timing, row, timed
from qcourse.bench.speed.subjects import SHAPES, Subject, made

RECIPES = {"gptq": "gptq-w4g128", "awq": "awq-w4g128"}
OTHERS = {"gptq": ("gptqmodel", "autogptq"), "awq": ("autoawq",)}
FASTER, NEAR_FLOOR, QUALITY = 4.0, 2.0, 1.05


def rows(subject: Subject, method: str, full: bool = False, all_peers: bool = False) -> Iterator[dict]:
    """Yield the rows of one method on one subject: ours against each peer, and against the floor."""
    base = subject.fresh()
    name = f"{method}, {subject.name}, {subject.calibration.shape[0]} x {subject.calibration.shape[1]}"
    mine = timed(subject.fresh, lambda model: ours(model, method, subject))
    kl = divergence(base, mine.result, subject)
    peers = {
        "llm-compressor": timed(subject.fresh, lambda model: llmcompressor(model, method, subject), full=full)
    }
    if all_peers:
        peers |= {library: other(library, method, subject) for library in OTHERS[method]}
    for peer, theirs in peers.items():
        yield against(name, peer, mine, kl, theirs, divergence(base, theirs.result, subject))
    least = floor.seconds(
        base.config, RECIPES[method], subject.calibration.numel(), subject.calibration.shape[1], floor.rates()
    )
    yield row(f"{name}: times the floor", mine.median / least["floor"], NEAR_FLOOR, False, ours=mine.median,
              parts={key: round(value, 4) for key, value in least.items()})  # fmt: skip


def against(name: str, peer: str, mine: Timing, kl: float, theirs: Timing, their_kl: float) -> dict:
    """Return the row of ours against one peer; void when our KL is more than 1.05 times theirs."""
    found = row(
        f"{name}: times faster than {peer}", theirs.median / mine.median, FASTER, True, ours=mine.median,
        spread=mine.spread, peer=theirs.median, peer_spread=theirs.spread, KL=kl, peer_KL=their_kl
    )  # fmt: skip
    if kl > QUALITY * their_kl:
        found["met"] = "void: KL"
    return found


def divergence(base: Any, model: Any, subject: Subject) -> float:
    """Return the mean KL from the unquantized model on the subject's evaluation tokens."""
    from qcourse import measure

    return measure.divergence(base, model, subject.evaluation).kl_mean


def ours(model: Any, method: str, subject: Subject) -> Any:
    """Quantize a model in place by this package and return it."""
    from qcourse.quantize import quantize
    from qcourse.recipe import named

    return quantize(model, named(RECIPES[method]), subject.calibration, progress=False).model


def llmcompressor(model: Any, method: str, subject: Subject) -> Any:
    """Quantize a model in place by llm-compressor and return it; the tokenizer is only carried along."""
    from qcourse import models
    from qcourse.lanes import libraries

    run = {"gptq": libraries.llmcompressor_gptq, "awq": libraries.llmcompressor_awq}[method]
    return run(model, models.load("pico").tokenizer, subject.calibration)


def other(library: str, method: str, subject: Subject) -> Timing:
    """Time a library in its own environment once, loading and saving included, and read its weights back."""
    from qcourse import models
    from qcourse.export import tensor_file
    from qcourse.lanes import peers

    source = made(subject.name) if subject.name in SHAPES else models.resolve(subject.name)
    with tempfile.TemporaryDirectory() as work:
        start = time.perf_counter()
        folder = peers.quantize(library, source, subject.calibration, Path(work) / "artefact")
        taken = time.perf_counter() - start
        weights = tensor_file.load(folder / "dequantized" / "weights.safetensors")
    model = subject.fresh()
    for name, value in weights.items():
        module = model.get_submodule(name)
        module.weight.data = value.to(module.weight.dtype)
    return Timing([taken], model)
