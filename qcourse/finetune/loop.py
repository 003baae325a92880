"""The training loop of this room: seeded batches, AdamW with 32-bit or 8-bit states, cosine decay."""

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.finetune.answers import TokenizedExample, collate, loss_of
from qcourse.finetune.cpu import fast_on_cpu
from qcourse.finetune.optimizer import make_optimizer, optimizer_bytes
from qcourse.finetune.replay import Replay

PIECE_TOKENS = 400


@dataclass
class TrainingLog:
    """What a run did: the losses of every step (nats per answer token), tokens read and seconds taken."""

    losses: list[float] = field(default_factory=list)
    replay_losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    trainable_parameters: int = 0
    optimizer_bytes: int = 0


def fit(
    model: nn.Module, rows: Sequence[TokenizedExample], *, steps: int, batch_size: int = 32,
    learning_rate: float = 2e-3, replay: Replay | None = None, optimizer: str = "adamw", seed: int = 0,
    progress: bool = True
) -> TrainingLog:  # fmt: skip
    """Train the parameters of `model` that require a gradient on the answers of `rows`; return the log.

    replay: what the model could do before, drawn from at each step so that the new skill does not replace it.
    optimizer: "adamw", or with the two moments in 8 bits for tensors of 4,096 values and more:
    "adamw8bit" (bitsandbytes'), "adamw8bit-paged" (its paged form, on CUDA) and "adamw8bit-own" (ours).
    The order of rows depends on `seed` only. The model is left in eval mode.
    Raises QCourseError when nothing is trainable or the loss stops being finite.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise QCourseError("no parameter requires a gradient; call add_adapters or prepare_qat first")
    stepper = make_optimizer(trainable, optimizer, learning_rate)
    log = TrainingLog(trainable_parameters=sum(parameter.numel() for parameter in trainable))
    model.train()
    streams = [(batches(rows, batch_size, seed), Answers())]
    if replay:
        streams.append((batches(replay.rows, replay.size, seed + 1), replay))
    started = time.perf_counter()
    for step in _shown(range(steps), progress):
        for group in stepper.param_groups:
            group["lr"] = learning_rate * schedule(step, steps)
        drawn = [(next(stream), objective) for stream, objective in streams]
        with fast_on_cpu(model):
            values = _step(model, trainable, stepper, drawn)
        log.losses.append(values[0])
        log.replay_losses += values[1:]
        log.tokens += sum(len(row.ids) for batch, _ in drawn for row in batch)
    log.seconds = time.perf_counter() - started
    log.optimizer_bytes = optimizer_bytes(stepper)
    model.eval()
    return log


def _step(
    model: nn.Module, trainable: list, stepper: torch.optim.Optimizer, drawn: list[tuple]
) -> list[float]:
    """Add up the gradients of each (batch, objective), update; return each batch's mean loss."""
    stepper.zero_grad(set_to_none=True)
    values = []
    for batch, objective in drawn:
        total, value = sum(map(objective.count, batch)), 0.0
        for piece in pieces(batch):
            loss = objective.loss(model, piece) * (sum(map(objective.count, piece)) / total)
            (objective.weight * loss).backward()
            value += loss.item()
        if not math.isfinite(value):
            raise QCourseError(f"the training loss became {value}; lower the learning rate")
        values.append(value)
    torch.nn.utils.clip_grad_norm_(trainable, 1.0)
    stepper.step()
    return values


def pieces(batch: Sequence[TokenizedExample]) -> list[list[TokenizedExample]]:
    """Return a batch by length, in pieces of at most 400 tokens: activations are held for one at a time.

    A row more than half longer than the shortest of its piece starts a new one, so that little is padding.
    """
    cut: list[list[TokenizedExample]] = []
    for row in sorted(batch, key=lambda row: len(row.ids)):
        fits = cut and (len(cut[-1]) + 1) * len(row.ids) <= max(PIECE_TOKENS, len(row.ids))
        if fits and len(row.ids) <= 1.5 * len(cut[-1][0].ids):
            cut[-1].append(row)
        else:
            cut.append([row])
    return cut


class Answers:
    """The objective of a batch of questions: the mean loss of the answers' tokens, in nats."""

    weight = 1.0

    def loss(self, model: nn.Module, batch: Sequence[TokenizedExample]) -> Tensor:
        """Return the mean loss per answer token (differentiable scalar)."""
        return loss_of(model, *collate(batch))

    def count(self, row: TokenizedExample) -> int:
        """Return how many tokens of a row the loss is a mean over."""
        return len(row.ids) - max(row.prompt_length, 1)


def batches(rows: Sequence[TokenizedExample], batch_size: int, seed: int) -> Iterator[list[TokenizedExample]]:
    """Yield batches for ever, each epoch in a new order drawn from `seed`; its last batch may be short."""
    if not rows:
        raise QCourseError("there are no rows to train on; encode at least one item")
    draw = random.Random(seed)
    while True:
        order = draw.sample(range(len(rows)), len(rows))
        for start in range(0, len(order), batch_size):
            yield [rows[index] for index in order[start : start + batch_size]]


def schedule(step: int, steps: int) -> float:
    """Return the learning-rate factor: ten steps of warm-up, then half a cosine down to zero."""
    warm = min(10, max(1, steps // 10))
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _shown(steps: range, progress: bool) -> Iterator[int]:
    """Return the steps, with a progress bar when asked for."""
    if not progress:
        return iter(steps)
    from tqdm.auto import tqdm

    return iter(tqdm(steps, desc="fine-tuning", unit="step"))
