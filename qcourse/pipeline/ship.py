"""The gates of a release: an artefact is remade, measured against limits, run in its engine, and traced."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, content_hash, read_text
from qcourse.pipeline.policy import Policy, kept
from qcourse.pipeline.reproduce import reproduced

PROMPT = [{"role": "user", "content": "Answer in one line: what does a scale do?"}]
SAME_LOGITS = 1e-2  # KL divergence in nats between the engine's and transformers' reading of one artefact


@dataclass(frozen=True)
class Gate:
    """One check: its name, whether it is passed, and what was found."""

    name: str
    passed: bool
    found: str

    def __str__(self) -> str:
        """Return the gate as a line."""
        return f"{'pass' if self.passed else 'FAIL'}  {self.name}: {self.found}"


def gate(name: str, check: Callable[[], str]) -> Gate:
    """Return a gate that is passed unless the check raises QCourseError; both say what was found."""
    try:
        return Gate(name, True, check())
    except QCourseError as error:
        return Gate(name, False, str(error))


def gates(path: Path, record: Any, baseline: str, policy: Policy) -> list[Gate]:
    """Return the gates of an artefact whose files and hash were found in order."""
    found = [gate("base", lambda: base(record, baseline))]
    found.append(gate("licence", lambda: licence(path, baseline, policy.licences)))
    if policy.reproduce:
        found.append(gate("reproducible", lambda: reproduced(path, record, baseline)))
    if policy.limits:
        found += evaluated(path, baseline, policy)
    engine = policy.engine or ("llama.cpp" if path.suffix == ".gguf" else "vllm")
    return [*found, gate(f"smoke test in {engine}", lambda: smoke(path, engine))]


def base(record: Any, baseline: str) -> str:
    """Return the source model's name; QCourseError if the baseline is another model."""
    from qcourse.models import resolve

    found = content_hash(resolve(baseline))
    if record.source is None or record.source.hash != found:
        made_of = f"{record.source.model} ({record.source.hash[:16]})" if record.source else "no named model"
        raise QCourseError(f"it was made of {made_of}, and {baseline} hashes to {found[:16]}")
    return f"{record.source.model}, {found[:16]}"


def licence(path: Path, baseline: str, allowed: tuple[str, ...]) -> str:
    """Return the licence that the artefact's or the base's card names; QCourseError if none or another."""
    from qcourse.models import resolve

    folders = [path if path.is_dir() else path.parent, resolve(baseline)]
    for card in (folder / "README.md" for folder in folders):
        named = re.search(r"^license(?:_name)?:\s*(\S+)", read_text(card), re.M) if card.exists() else None
        if named and allowed and named[1] not in allowed:
            raise QCourseError(f"{named[1]} is not among those allowed: {', '.join(allowed)}")
        if named:
            return f"{named[1]}, by the model card of {card.parent.name}"
    raise QCourseError(f"neither {path.name} nor {baseline} names one; write `license:` in its README.md")


def evaluated(path: Path, baseline: str, policy: Policy) -> list[Gate]:
    """Return one gate a limit, passed if the whole interval of the measure keeps it."""
    from qcourse.pipeline.evaluate import measure

    row = measure(str(path), baseline, None, policy.items, policy.windows, policy.context)
    return [gate(name, partial(kept, name, limit, row)) for name, limit in policy.limits.items()]


def smoke(path: Path, engine: str) -> str:
    """Load the artefact in an engine and return one greedy answer; QCourseError if it has none.

    From vLLM the log-probabilities of a prompt are compared too, with transformers' reading of the file.
    """
    from qcourse import measure, models, serve

    if engine == "transformers":
        source = measure.as_source(models.load(path))
        return answered(source)
    if engine not in ("vllm", "llama.cpp"):
        raise QCourseError(f"unknown engine {engine!r}; known are transformers, vllm, llama.cpp")
    start = serve.vllm if engine == "vllm" else serve.llama_cpp
    with start(path, progress=False) as server:
        said = answered(server)
        if engine == "vllm":
            loaded = models.load(path)
            tokens = measure.evaluation_tokens(loaded.tokenizer, 1, 64).tokens
            found = measure.divergence(measure.as_source(loaded), server, tokens).kl_mean
            if found > SAME_LOGITS:
                raise QCourseError(f"its logits differ from transformers' by {found:.3g} nats")
            said += f", {found:.2g} nats from transformers"
    return said


def answered(source: Any) -> str:
    """Return that a source answers, with its words; QCourseError for an empty answer."""
    text = source.generate([PROMPT], [16])[0].strip()
    if not text:
        raise QCourseError("it gave an empty answer")
    return f"it answers {text[:60]!r}"
