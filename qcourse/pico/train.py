"""Train pico: `python -m qcourse.pico.train --output FOLDER`; started again, it goes on."""

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcourse.common import atomic_path
from qcourse.pico.curriculum import STAGES, Batch, Stage, batch_at
from qcourse.pico.export import export
from qcourse.pico.initialization import initialize
from qcourse.pico.model import Pico, Shape
from qcourse.pico.optimizer import optimizers, rate_at, set_rate
from qcourse.pico.rows import Source

WARMUP = 20
SAVE_EVERY = 100
PICO_1 = Shape(num_hidden_layers=6, intermediate_size=1024)


@dataclass
class Run:
    """A training run: the model, its optimizers, and how far it is."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    stage: int = 0
    step: int = 0

    def save(self, folder: Path) -> None:
        """Write everything that going on needs to folder/state.pt."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "state.pt") as temporary:
            torch.save(
                {
                    "model": self.model.state_dict(),
                    "optimizers": [o.state_dict() for o in self.optimizers],
                    "stage": self.stage,
                    "step": self.step,
                },
                temporary,
            )

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; do nothing if there is nothing."""
        if not (folder / "state.pt").exists():
            return
        state = torch.load(folder / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.stage, self.step = state["stage"], state["step"]


def start(shape: Shape, seed: int) -> Run:
    """Return a run at its beginning."""
    model = Pico(shape)
    initialize(model, seed)
    return Run(model, optimizers(model))


def losses(forward, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return (cross-entropy of each learned token, its weight); only learned tokens get logits."""
    learned = batch.weights[:, 1:] > 0
    with torch.autocast("cpu", torch.bfloat16):
        hidden = forward(batch.ids)[:, :-1][learned]
        logits = hidden @ model.embed_tokens.weight.T
    return F.cross_entropy(logits.float(), batch.ids[:, 1:][learned], reduction="none"), batch.weights[:, 1:][
        learned
    ]


def by_kind(each: Tensor, batch: Batch) -> dict[str, float]:
    """Return the mean loss of each kind of row in the batch."""
    counts = (batch.weights[:, 1:] > 0).sum(1).tolist()
    parts = each.detach().split(counts)
    found: dict[str, list[Tensor]] = {}
    for kind, part in zip(batch.kinds, parts, strict=True):
        found.setdefault(kind, []).append(part)
    return {kind: round(torch.cat(list_).mean().item(), 3) for kind, list_ in sorted(found.items())}


def train_step(run: Run, forward, batch: Batch, rate: float) -> Tensor:
    """Take one optimizer step; return the loss of each learned token."""
    set_rate(run.optimizers, rate)
    each, weights = losses(forward, run.model, batch)
    ((each * weights).sum() / weights.sum()).backward()
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return each


def train(
    run: Run,
    stages: tuple[Stage, ...],
    source: Source,
    folder: Path,
    seed: int = 1,
    tokens: int = 4096,
    compiled: bool = True,
    stop_after: int | None = None,
) -> Run:
    """Go through the stages from where the run is, logging to folder/log.jsonl.

    It saves and returns after `stop_after` steps, or when a file folder/pause appears.
    """
    from tqdm import tqdm

    forward = torch.compile(run.model, dynamic=False) if compiled else run.model
    taken = 0
    while run.stage < len(stages):
        stage = stages[run.stage]
        for step in tqdm(
            range(run.step, stage.steps), desc=stage.name, initial=run.step, total=stage.steps, mininterval=20
        ):
            begun = time.perf_counter()
            batch = batch_at(stage, step, source, seed, tokens)
            rate = rate_at(step, stage.steps, stage.first, stage.last, WARMUP)
            each = train_step(run, forward, batch, rate)
            run.step, taken = step + 1, taken + 1
            _log(folder, stage, step, rate, by_kind(each, batch), time.perf_counter() - begun)
            if taken == stop_after or (folder / "pause").exists():
                run.save(folder)
                return run
            if run.step % SAVE_EVERY == 0:
                run.save(folder)
        run.stage, run.step = run.stage + 1, 0
        run.save(folder)
    return run


def _log(folder: Path, stage: Stage, step: int, rate: float, means: dict[str, float], seconds: float) -> None:
    """Append one line to the loss curve."""
    folder.mkdir(parents=True, exist_ok=True)
    row = {"stage": stage.name, "step": step, "rate": round(rate, 6), "seconds": round(seconds, 3), **means}
    with (folder / "log.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def main() -> None:
    """Train pico-1 from the beginning, or go on with the run in --output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the run; the model lands in its 'model'"
    )
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    from qcourse.pico.source import load_source

    tokenizer, source = load_source(chosen.output / "tokenizer")
    run = start(PICO_1, chosen.seed)
    run.load(chosen.output)
    train(run, STAGES, source, chosen.output, chosen.seed)
    export(run.model, tokenizer, chosen.output / "model")


if __name__ == "__main__":
    main()
