"""The training loop of this room: seeded batches, AdamW with 32-bit or 8-bit states, cosine decay."""

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from qcourse.common import QCourseError
from qcourse.finetune.answers import Row, collate, loss_of


@dataclass
class TrainingLog:
    """What a run did: the loss of every step (nats per answer token), tokens read and seconds taken."""

    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    trainable_parameters: int = 0
    optimizer_bytes: int = 0


def fit(
    model: nn.Module, rows: Sequence[Row], *, steps: int, batch_size: int = 32, learning_rate: float = 2e-3,
    optimizer: str = "adamw", seed: int = 0, progress: bool = True,
) -> TrainingLog:
    """Train the parameters of `model` that require a gradient on the answers of `rows`; return the log.

    optimizer: "adamw", or "adamw8bit" (bitsandbytes: the two moments in 8 bits,
    blocks of 256, for tensors of 4,096 values and more).
    The order of rows depends on `seed` only. The model is left in eval mode.
    Raises QCourseError when nothing is trainable or the loss stops being finite.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise QCourseError("no parameter requires a gradient; call add_adapters or prepare_qat first")
    stepper = make_optimizer(trainable, optimizer, learning_rate)
    log = TrainingLog(trainable_parameters=sum(parameter.numel() for parameter in trainable))
    model.train()
    started = time.perf_counter()
    for step, batch in zip(_shown(range(steps), progress), batches(rows, batch_size, seed), strict=False):
        for group in stepper.param_groups:
            group["lr"] = learning_rate * schedule(step, steps)
        log.losses.append(_step(model, trainable, stepper, batch))
        log.tokens += sum(len(row.ids) for row in batch)
    log.seconds = time.perf_counter() - started
    log.optimizer_bytes = optimizer_bytes(stepper)
    model.eval()
    return log


def _step(model: nn.Module, trainable: list, stepper: torch.optim.Optimizer, batch: Sequence[Row]) -> float:
    """Do one forward, backward and update; return the loss."""
    loss = loss_of(model, *collate(batch))
    if not math.isfinite(value := loss.item()):
        raise QCourseError(f"the training loss became {value}; lower the learning rate")
    stepper.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trainable, 1.0)
    stepper.step()
    return value


def batches(rows: Sequence[Row], batch_size: int, seed: int) -> Iterator[list[Row]]:
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


def make_optimizer(parameters: list[nn.Parameter], name: str, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW with 32-bit states, or bitsandbytes' with 8-bit states."""
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    if name != "adamw8bit":
        raise QCourseError(f"unknown optimizer {name!r}; known: adamw, adamw8bit")
    try:
        import bitsandbytes
    except ImportError as error:
        raise QCourseError("adamw8bit needs bitsandbytes, which is absent; use optimizer='adamw'") from error
    return bitsandbytes.optim.AdamW8bit(parameters, lr=learning_rate, weight_decay=0.0)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the tensors that the optimizer keeps for each parameter."""
    tensors = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in tensors if isinstance(value, torch.Tensor) and value.numel() > 1)


def _shown(steps: range, progress: bool) -> Iterator[int]:
    """Return the steps, with a progress bar when asked for."""
    if not progress:
        return iter(steps)
    from tqdm.auto import tqdm

    return iter(tqdm(steps, desc="fine-tuning", unit="step"))
