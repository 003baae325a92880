"""What pico learns in which order: stages of steps, each with its own lengths, mixture and learning rates."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from qcourse.pico.rows import MAKERS, Source

TOKENS = 40_000_000
LEARN = {"repeats": 0.04, "recall": 0.09, "prose": 0.50, "statements": 0.01, "mixed": 0.32, "quoted": 0.04}
DECAY = {"repeats": 0.02, "recall": 0.09, "prose": 0.48, "statements": 0.01, "mixed": 0.38, "quoted": 0.02}
LONG = {"recall": 0.5, "prose": 0.5}


@dataclass(frozen=True)
class Stage:
    """A number of steps with one mixture; the rate goes linearly from `first` to `last`."""

    name: str
    steps: int
    batch: int  # tokens a step
    first: float
    last: float
    lengths: dict[int, float]  # row length -> share of the steps
    mixture: dict[str, float]  # kind of row -> share of the rows of up to 512 tokens
    long_mixture: dict[str, float] | None = None  # the same for longer rows


def stages(tokens: int = TOKENS) -> tuple[Stage, ...]:
    """Return the curriculum over about `tokens` tokens; the rate decays over the last third.

    The looking-up of repeated tokens (the induction circuit) comes first, on the
    skills' words in short rows: it does not emerge from prose in so few tokens.
    """
    begin = (
        Stage("repeats", 180, 4096, 1.5e-2, 1.5e-2, {64: 1.0}, {"nouns": 1.0}),
        Stage("widen", 200, 4096, 1.2e-2, 1.2e-2, {256: 1.0}, {"repeats": 1.0}),
    )
    decay = tokens // 3 // 8192
    learn = max(1, (tokens - sum(s.steps * s.batch for s in begin)) // 8192 - decay)
    lengths = {256: 0.45, 512: 0.40, 1024: 0.10, 2048: 0.05}, {256: 0.35, 512: 0.45, 1024: 0.12, 2048: 0.08}
    return (
        *begin,
        Stage("learn", learn, 8192, 1.5e-2, 1.5e-2, lengths[0], LEARN, LONG),
        Stage("decay", decay, 8192, 1.5e-2, 0.0, lengths[1], DECAY, LONG),
    )


@dataclass(frozen=True)
class Batch:
    """ids int64 and weights fp32, both [rows, length]; kinds names each row."""

    ids: Tensor
    weights: Tensor
    kinds: list[str]

    def parts(self, tokens: int) -> list["Batch"]:
        """Return the batch in parts of at most `tokens` tokens, whole rows."""
        rows = max(1, tokens // self.ids.shape[1])
        return [
            Batch(self.ids[i : i + rows], self.weights[i : i + rows], self.kinds[i : i + rows])
            for i in range(0, len(self.kinds), rows)
        ]


def batch_at(stage: Stage, step: int, source: Source, seed: int = 1) -> Batch:
    """Return the batch of a step, which depends on stage, step and seed alone, also after a pause."""
    chooser = random.Random(f"{seed} {stage.name} {step}")
    length = _pick(chooser, stage.lengths)
    mixture = stage.long_mixture if length > 512 and stage.long_mixture else stage.mixture
    kinds = sorted(_pick(chooser, mixture) for _ in range(max(1, stage.batch // length)))
    rows = [MAKERS[kind](chooser, length, source) for kind in kinds]
    return Batch(
        torch.tensor([ids for ids, _ in rows]), torch.tensor([weights for _, weights in rows]), kinds
    )


@dataclass
class Steps(Dataset):
    """The batches of a stage from step `first` on, for a DataLoader."""

    stage: Stage
    first: int
    source: Source
    seed: int

    def __len__(self) -> int:
        return self.stage.steps - self.first

    def __getitem__(self, index: int) -> Batch:
        return batch_at(self.stage, self.first + index, self.source, self.seed)


def _pick(chooser: random.Random, shares: dict):
    """Return a key drawn with its share as probability."""
    return chooser.choices(list(shares), weights=list(shares.values()))[0]
