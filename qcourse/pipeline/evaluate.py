"""From what a user names to measured values: a folder, a hub id, a GGUF file, or a running server."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcourse.common import QCourseError, content_hash
from qcourse.pipeline.naming import origin, recipe_name

if TYPE_CHECKING:
    from qcourse.measure import LogitSource


def measure(model: str, baseline: str | None, text: Path | None, items: int, windows: int, context: int,
            api_key: str | None = None) -> dict[str, Any]:  # fmt: skip
    """Return one scoreboard row as plain values; skills as {skill: {"accuracy", "interval"}}."""
    from qcourse import models
    from qcourse.measure import EvaluationConfig, evaluate, evaluation_tokens
    from qcourse.skills import asked_of

    reference = models.load(baseline) if baseline else None
    here = Path(model) if Path(model).exists() else None  # its stored bits are counted
    with source(model, baseline, api_key) as (logits, tokenizer):
        asked = asked_of(origin(model, baseline) or model, bool(tokenizer.chat_template))
        tokens = evaluation_tokens(tokenizer, windows, context, text=text)
        row = evaluate(logits, reference, tokens, recipe=recipe_name(model), artefact=here,
                       tokenizer=tokenizer, config=EvaluationConfig(asked, items, time=False))  # fmt: skip
        changed = flips_of(reference, logits, asked, items, tokenizer) if baseline and items else {}
    values = asdict(row)
    values["skills"] = {name: with_interval(name, entry, row.intervals) for name, entry in row.skills.items()}
    return {"model": model, **values, "flips": changed}


def flips_of(reference: Any, source: Any, asked: tuple[str, ...], n: int, tokenizer: Any) -> dict[str, Any]:
    """Return, by skill, the answers lost and gained against the reference, and p adjusted for all skills.

    p: McNemar's exact test, adjusted by Holm; smallest_loss: what n questions could show at 5%.
    """
    from qcourse.measure import skill_scores
    from qcourse.measure.flips import flips_by_skill, smallest_loss

    before, after = (skill_scores(model, asked, n, tokenizer)["marks"] for model in (reference, source))
    found = flips_by_skill(before, after)
    return {skill: each | {"smallest_loss": smallest_loss(each["n"])} for skill, each in found.items()}


@contextmanager
def source(
    model: str, baseline: str | None, api_key: str | None = None
) -> Iterator[tuple["LogitSource", Any]]:
    """Yield (logit source, tokenizer) of what was named; servers started for it are stopped."""
    from qcourse import serve
    from qcourse.measure import as_source

    if model.startswith(("http://", "https://")):
        tokenizer = tokenizer_of(model, baseline)
        with serve.connect(model, api_key=api_key) as server:
            yield server, tokenizer
    elif model.endswith(".gguf"):
        tokenizer = tokenizer_of(model, baseline)
        with serve.llama_cpp(model) as server:
            yield server, tokenizer
    else:
        loaded = load(model)
        yield as_source(loaded), loaded.tokenizer


def load(model: str) -> Any:
    """Load a model for evaluation: by its library, or by our reader where the library reads it wrongly."""
    from qcourse import export, models
    from qcourse.quantize.simulate import as_stored

    folder = models.resolve(model)
    if not export.misread_by_transformers(folder):
        return models.load(model)
    print(f"{folder} is decoded here: transformers would read it wrongly or needs a library", file=sys.stderr)
    layers, dense = export.split(folder)
    dense |= {f"{name}.weight": layer.dequantize() for name, layer in layers.items()}
    weights = {name: tensor.bfloat16() for name, tensor in dense.items() if tensor.is_floating_point()}
    made = as_stored(models.filled(folder, weights), layers).to(models.choose_device())
    made.config.__dict__.pop("quantization_config", None)
    return models.LoadedModel(made, models.load_tokenizer(folder), model, folder, content_hash(folder))


def tokenizer_of(model: str, baseline: str | None) -> Any:
    """Return the tokenizer of the model that a file or server came from, or a GGUF's own.

    Raises QCourseError where none is known.
    """
    from qcourse import gguf_reader
    from qcourse.models import resolve
    from qcourse.models.load import load_tokenizer

    if model.endswith(".gguf") and not baseline:
        return gguf_reader.read_tokenizer(model)  # its record names a folder that may be elsewhere now
    name = origin(model, baseline)
    if not name:
        raise QCourseError(f"the tokenizer of {model} is not known; name the unquantized model by --baseline")
    return load_tokenizer(resolve(name))


def with_interval(name: str, entry: float | str, intervals: dict) -> dict[str, Any] | str:
    """Return one skill's accuracy with its interval, or the word that says it does not apply."""
    if isinstance(entry, str):
        return entry
    return {"accuracy": entry, "interval": intervals.get(f"skills.{name}")}
