"""A training run: the model, its optimizers and how far it is; kept in one file, so that it can go on."""

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from qcourse.common import QCourseError, atomic_path
from qcourse.common.machine import cpu_flags
from qcourse.pico.initialization import initialize
from qcourse.pico.model import Pico, Shape
from qcourse.pico.optimizer import optimizers
from qcourse.pico.rows import Source


@dataclass
class Run:
    """A training run: the model, its optimizers, and how far it is."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    reads: str  # hash of the training ids
    stage: int = 0
    step: int = 0

    def save(self, folder: Path) -> None:
        """Write everything that going on needs to folder/state.pt."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
            "reads": self.reads, "stage": self.stage, "step": self.step
        }  # fmt: skip
        with atomic_path(folder / "state.pt") as temporary:
            torch.save(state, temporary)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; do nothing if there is nothing."""
        if not (folder / "state.pt").exists():
            return
        state = torch.load(folder / "state.pt", weights_only=True, map_location=device(self.model))
        if state["reads"] != self.reads:
            raise QCourseError(
                f"the run in {folder} was trained on another corpus or tokenizer: "
                "give it its own --corpus, or start in another --output"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.stage, self.step = state["stage"], state["step"]


def device(model: nn.Module) -> torch.device:
    """Return where the model's weights are."""
    return next(model.parameters()).device


def half(place: torch.device) -> torch.dtype:
    """Return the dtype of matrix products: bfloat16 where the hardware multiplies it, else float32."""
    fast = place.type == "cuda" or {"avx512_bf16", "amx_bf16"} & cpu_flags()
    return torch.bfloat16 if fast else torch.float32


def start(shape: Shape, seed: int, source: Source, place: str = "cpu") -> Run:
    """Return a run at its beginning."""
    model = Pico(shape)
    initialize(model, seed)
    model = model.to(place)
    reads = hashlib.sha256(source.stream.tobytes()).hexdigest()
    return Run(model, optimizers(model, half(device(model))), reads)


def arithmetic(place: torch.device):
    """Return autocast to `half`, or nothing to do."""
    narrow = half(place) != torch.float32
    return torch.autocast(place.type, half(place)) if narrow else nullcontext()
