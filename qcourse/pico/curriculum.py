"""What pico learns in which order: stages of steps, each with its own lengths, mixture and learning rates."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from qcourse.pico.rows import MAKERS, Source

BATCH_TOKENS = 4096

MIXTURE = {
    "repeats": 0.09,
    "recall": 0.12,
    "prose": 0.29,
    "statements": 0.01,
    "arithmetic": 0.18,
    "facts": 0.06,
    "tool_call": 0.09,
    "format": 0.08,
    "refusal": 0.04,
    "code": 0.04,
}
MIXED = {"repeats": 0.06, "recall": 0.10, "prose": 0.36, "statements": 0.01, "mixed": 0.42, "quoted": 0.05}
FINAL = {"repeats": 0.03, "recall": 0.15, "prose": 0.17, "final": 0.65}
LAST = {"repeats": 0.03, "recall": 0.08, "prose": 0.08, "last": 0.81}
FINAL_LONG = {"recall": 0.85, "prose": 0.15}
LONG = {"recall": 0.6, "prose": 0.4}


@dataclass(frozen=True)
class Stage:
    """A number of steps with one mixture; the rate goes linearly from `first` to `last`."""

    name: str
    steps: int
    first: float
    last: float
    lengths: dict[int, float]  # row length -> share of the steps
    mixture: dict[str, float]  # kind of row -> share of the rows of up to 512 tokens
    long_mixture: dict[str, float] | None = None  # the same for longer rows


STAGES = (
    Stage("repeats", 180, 1.5e-2, 1.5e-2, {64: 1.0}, {"nouns": 1.0}),
    Stage("widen", 200, 1.2e-2, 1.2e-2, {256: 1.0}, {"repeats": 1.0}),
    Stage("skills", 900, 1.5e-2, 1.5e-2, {256: 0.94, 1024: 0.06}, MIXTURE, LONG),
    Stage("decay", 800, 1.5e-2, 2.4e-3, {256: 0.90, 1024: 0.05, 2048: 0.05}, MIXED, LONG),
    Stage("finish", 260, 5e-3, 0.0, {256: 0.88, 1024: 0.05, 2048: 0.07}, FINAL, FINAL_LONG),
    Stage("last", 160, 6e-3, 0.0, {256: 0.96, 2048: 0.04}, LAST, FINAL_LONG),
)


@dataclass(frozen=True)
class Batch:
    """ids int64 and weights fp32, both [rows, length]; kinds names each row."""

    ids: Tensor
    weights: Tensor
    kinds: list[str]


def batch_at(stage: Stage, step: int, source: Source, seed: int = 1, tokens: int = BATCH_TOKENS) -> Batch:
    """Return the batch of a step, which depends on stage, step and seed alone, also after a pause."""
    chooser = random.Random(f"{seed} {stage.name} {step}")
    length = _pick(chooser, stage.lengths)
    mixture = stage.long_mixture if length > 512 and stage.long_mixture else stage.mixture
    kinds = [_pick(chooser, mixture) for _ in range(max(1, tokens // length))]
    rows = [MAKERS[kind](chooser, length, source) for kind in kinds]
    return Batch(
        torch.tensor([ids for ids, _ in rows]), torch.tensor([weights for _, weights in rows]), kinds
    )


def _pick(chooser: random.Random, shares: dict):
    """Return a key drawn with its share as probability."""
    return chooser.choices(list(shares), weights=list(shares.values()))[0]
