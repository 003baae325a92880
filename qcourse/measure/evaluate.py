"""One model, one row: perplexity, divergence, skills, speed and memory by the one yardstick."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcourse.common.provenance import machine, versions
from qcourse.measure.cache import cached
from qcourse.measure.fields import EvaluationConfig, measure_row
from qcourse.measure.in_memory import as_source
from qcourse.measure.scoreboard import Row, append
from qcourse.measure.size import Size, bits_per_weight, memory_size
from qcourse.measure.sources import LogitSource
from qcourse.measure.tokens import EvaluationSet, as_evaluation_set

YARDSTICK = 1  # raised when a measure changes its meaning, so that no older row is found in the cache


def evaluate(
    model: Any, reference: Any, tokens: EvaluationSet | Tensor, *, recipe: Any = "bf16", lane: str = "",
    artefact: Path | str | None = None, tokenizer: Any = None, config: EvaluationConfig | None = None,
    scoreboard: Path | str | None = None, model_hash: str = "", progress: bool = True
) -> Row:  # fmt: skip
    """Measure a model (or logit source, or quantized model) against its reference; return the row.

    recipe: a Recipe or a name; lane: default the recipe's method; artefact: the folder or GGUF file
    whose stored bits count (default: those of the quantized layers in memory, if any).
    reference: the unquantized model, None to leave divergence out; scoreboard: a file to append to.
    The row is taken from the cache when model, reference, tokens (BOS among them), chat template, recipe,
    versions and machine are the same.
    """
    config = config or EvaluationConfig()
    source: LogitSource = as_source(model, tokenizer)
    base: LogitSource | None = as_source(reference) if reference is not None else None
    evaluation = as_evaluation_set(tokens)
    row = identity(source, base, evaluation, recipe, lane, model_hash)
    hashes = {"model": source.hash, "reference": base.hash if base is not None else None}
    template = getattr(tokenizer or getattr(source, "tokenizer", None), "chat_template", None)
    key = asdict(row) | hashes | {"config": asdict(config), "yardstick": YARDSTICK, "chat_template": template}
    known = bool(hashes["model"]) and (base is None or bool(hashes["reference"]))
    values = once(key, known, lambda: measure_row(source, base, evaluation, config, progress, tokenizer))
    size = stored_size(model, artefact)
    row = Row.from_dict(asdict(row) | values | (asdict(size) if size else {}))
    if scoreboard:
        append(scoreboard, row)
    return row


def once(key: dict, known: bool, measured: Callable[[], dict]) -> dict:
    """Return what `measured` gives with its date and seconds, from the cache where the key is known."""
    if not known:
        return measured() | {"date": datetime.now(UTC).isoformat(timespec="seconds"), "build_seconds": None}
    found = cached("rows", key, measured)
    return found.value | {"date": found.date, "build_seconds": found.seconds}


def identity(
    source: LogitSource, base: LogitSource | None, evaluation: EvaluationSet, recipe: Any, lane: str,
    model_hash: str
) -> Row:  # fmt: skip
    """Return the row's names and hashes, nothing measured."""
    origin = base if base is not None else source
    return Row(
        recipe=getattr(recipe, "name", str(recipe)),
        lane=lane or str(getattr(recipe, "transform", None) or getattr(recipe, "method", recipe)),
        engine=source.engine, model_hash=model_hash or origin.model_hash or origin.hash or "",
        recipe_hash=getattr(recipe, "hash", str(recipe)), evaluation_hash=evaluation.hash, dtype=source.dtype,
        threads=source.threads or torch.get_num_threads(), versions=versions() | source.versions,
        machine=machine()
    )  # fmt: skip


def stored_size(model: Any, artefact: Path | str | None) -> Size | None:
    """Return what the artefact stores, or what the quantized layers in memory would, if either is known."""
    if artefact:
        return bits_per_weight(artefact)
    layers = getattr(model, "layers", None)
    return memory_size(model.model, layers) if isinstance(layers, dict) else None


def noise_row(model: Any, exact: Any, tokens: EvaluationSet | Tensor, **options: Any) -> Row:
    """Return the row of the model in its usual dtype against the same model in float32.

    Its divergence is what arithmetic alone does: smaller differences between recipes mean nothing.
    model, exact: the same model in two dtypes.
    """
    return evaluate(model, exact, tokens, recipe="bf16 against fp32", lane="noise", **options)
