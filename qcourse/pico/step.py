"""One optimizer step of a training run, and the loss of each kind of row."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcourse.pico.curriculum import Batch
from qcourse.pico.optimizer import set_rate
from qcourse.pico.run import Run, arithmetic, device

PART_TOKENS = {"cpu": 4096, "cuda": 65_536}  # of a batch that go through the model at once


def losses(forward, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return (cross-entropy of each learned token, its weight); only learned tokens get logits."""
    place = device(model)
    ids, weights = batch.ids.to(place), batch.weights[:, 1:].to(place)
    learned = weights > 0
    with arithmetic(place):
        logits = model.logits(forward(ids)[:, :-1][learned])
    return F.cross_entropy(logits.float(), ids[:, 1:][learned], reduction="none"), weights[learned]


def by_kind(each: Tensor, batch: Batch) -> dict[str, float]:
    """Return the mean loss of each kind of row in the batch."""
    counts = (batch.weights[:, 1:] > 0).sum(1).tolist()
    found: dict[str, list[Tensor]] = {}
    for kind, part in zip(batch.kinds, each.cpu().split(counts), strict=True):
        found.setdefault(kind, []).append(part)
    return {kind: round(torch.cat(parts).mean().item(), 3) for kind, parts in sorted(found.items())}


def train_step(run: Run, forward, batch: Batch, rate: float) -> Tensor:
    """Take one optimizer step; return the loss of each learned token."""
    set_rate(run.optimizers, rate)
    total, seen = batch.weights[:, 1:].sum().item(), []
    for part in batch.parts(PART_TOKENS[device(run.model).type]):
        each, weights = losses(forward, run.model, part)
        ((each * weights).sum() / total).backward()
        seen.append(each.detach())
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat(seen)
