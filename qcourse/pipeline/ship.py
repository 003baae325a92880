"""The gates of a release: an artefact is remade, measured against limits, run in its engine, and traced."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, content_hash, read_text
from qcourse.common.tables import read_yaml
from qcourse.common.validation import read_as
from qcourse.pipeline.reproduce import reproduced

HIGHER = ("top1_agreement", "skills")  # more is better; of every other measure less is
PROMPT = [{"role": "user", "content": "Answer in one line: what does a scale do?"}]
SAME_LOGITS = 1e-2  # KL divergence in nats between the engine's and transformers' reading of one artefact


@dataclass(frozen=True)
class Policy:
    """What an artefact must keep. limits: {measure or skills.NAME: number}, met by the whole 95% interval.

    windows x context tokens, items a skill; reproduce: it is quantized again; engine: "transformers", "vllm"
    or "llama.cpp", default by the file; tensor_parallel: devices; licences: those allowed, () for any named.
    """

    limits: dict[str, float] = field(default_factory=dict)
    windows: int = 16
    context: int = 512
    items: int = 50
    reproduce: bool = True
    engine: str | None = None
    tensor_parallel: int = 1
    licences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """One check: its name, whether it is passed, and what was found."""

    name: str
    passed: bool
    found: str

    def __str__(self) -> str:
        """Return the gate as a line."""
        return f"{'pass' if self.passed else 'FAIL'}  {self.name}: {self.found}"


def read_policy(path: Path) -> Policy:
    """Return the policy of a YAML file; QCourseError for unknown keys and limits that are no numbers."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise QCourseError(f"{path} must hold a policy, such as `limits: {{kl_mean: 0.1}}`")
    return read_as(Policy, values, str(path))


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


def kept(name: str, limit: float, row: Mapping[str, Any]) -> str:
    """Return a measure with its interval and limit; QCourseError if the interval reaches past the limit."""
    kind, _, skill = name.partition(".")
    entry = row.get(kind, {}).get(skill) if skill else row.get(name)
    value = entry.get("accuracy") if isinstance(entry, dict) else entry
    if not isinstance(value, float | int):
        raise QCourseError(f"it was not measured ({value}); take it out of the policy, or set items")
    low, high = row["intervals"].get(name) or (value, value)
    good = low >= limit if kind in HIGHER else high <= limit
    said = f"{value:.4g} [{low:.4g}, {high:.4g}], {'at least' if kind in HIGHER else 'at most'} {limit:g}"
    if not good:
        raise QCourseError(said)
    return said


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
