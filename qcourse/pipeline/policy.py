"""What an artefact must keep to be released: the policy file, and a measure held against its limit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.tables import read_yaml
from qcourse.common.validation import read_as

HIGHER = ("top1_agreement", "skills")  # more is better; of every other measure less is


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


def read_policy(path: Path) -> Policy:
    """Return the policy of a YAML file; QCourseError for unknown keys and limits that are no numbers."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise QCourseError(f"{path} must hold a policy, such as `limits: {{kl_mean: 0.1}}`")
    return read_as(Policy, values, str(path))


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
