"""One decoder layer while its inputs are known: what its linears read, changing them, what comes out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.calibrate.stages import check_reached, stage_inputs, stages_of
from qcourse.calibrate.statistics import InputStatistics, InputSums


@dataclass
class LayerStep:
    """One decoder layer of a model, by its index."""

    index: int
    layer: nn.Module

    def linears(self) -> dict[str, nn.Linear]:
        """Return the layer's linears by name relative to the layer, in forward order."""
        return {name: module for name, module in self.layer.named_modules() if isinstance(module, nn.Linear)}

    def cast(self, dtype: torch.dtype) -> None:
        """Hold the weights of the layer's linears in `dtype` from here on."""
        for module in self.linears().values():
            module.weight.data = module.weight.data.to(dtype)


@dataclass
class CalibrationStep(LayerStep):
    """One decoder layer of a walk and what enters it; the walk goes on with the outputs, computed once.

    `stages`, run to its end, computes them while the caller changes the linears. `collect` only looks, any
    number of times. `go_on_with` sets them. Where neither of `stages` and `go_on_with` was called, the walk
    runs the layer as the caller has left it.
    hidden: what enters the layer, batch by batch; ahead: what this layer and each after
    it take beside each batch (they differ where some layers attend to a window).
    target: what enters it in the unquantized model, or [] where nobody asks for it; last: no layer follows;
    all_experts: every expert of a mixture is calibrated on every token.
    """

    hidden: list[Tensor]
    ahead: list[list[dict[str, Any]]]
    target: list[Tensor] = field(default_factory=list)
    last: bool = False
    all_experts: bool = False
    outputs: tuple[list[Tensor], list[Tensor]] | None = None
    started: bool = False

    @property
    def arguments(self) -> list[dict[str, Any]]:
        """What the layer takes beside each batch."""
        return self.ahead[0]

    def stages(self, gram: bool = True, magnitudes: bool = True) -> Iterator[InputStatistics]:
        """Run the layer once: yield the statistics of each input that linears share.

        Later inputs see those linears as changed meanwhile, the unquantized model's do not. What enters the
        layer is let go on the way, so that the stages run once and to their end, which computes the outputs.
        Raises QCourseError when the layer has linears that no stage reads, RuntimeError for a second run.
        """
        self._check_unused()
        self.started, runs = True, self._runs(self.hidden, self.target)
        yield from self._statistics(runs, gram, magnitudes)
        if not self.last:
            self.go_on_with(*map(finish, runs))

    def collect(self, gram: bool = True, magnitudes: bool = True) -> list[InputStatistics]:
        """Return the statistics of all shared inputs of the layer as it is. Raises as `stages` does."""
        self._check_unused()
        return list(self._statistics(self._runs(list(self.hidden), list(self.target)), gram, magnitudes))

    def go_on_with(self, hidden: list[Tensor], target: list[Tensor] | None = None) -> None:
        """Let these be the layer's outputs, and those of the unquantized model where they are asked for."""
        self.outputs = hidden, target or []

    def computed(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the layer's outputs and the unquantized model's, by running the layer if nobody has."""
        if self.outputs is None:
            self._check_unused()
            self.go_on_with(*(finish(run) for run in self._runs(self.hidden, self.target)))
        return self.outputs

    def _check_unused(self) -> None:
        if self.started:
            raise RuntimeError(
                f"the stages of layer {self.index} have let go of its inputs; run them once and to their end"
            )

    def _runs(self, hidden: list[Tensor], target: list[Tensor]) -> list[Iterator]:
        check_reached(self.linears(), stages_of(self.layer))
        runs = [stage_inputs(self.layer, hidden, self.arguments, self.all_experts)]
        if target:
            runs.append(stage_inputs(copy.deepcopy(self.layer), target, self.arguments))
        return runs

    def _statistics(self, runs: list[Iterator], gram: bool, magnitudes: bool) -> Iterator[InputStatistics]:
        linears = self.linears()
        for names in stages_of(self.layer):
            module = linears[names[0]]
            kept = gram, magnitudes, len(runs) > 1
            sums = InputSums(list(names), module.in_features, *kept, device=module.weight.device)
            for batch in zip(*map(next, runs), strict=True):
                sums.add(*batch)
            yield sums.finish()


def finish(run: Iterator) -> Any:
    """Run a generator to its end and return its result."""
    try:
        while True:
            next(run)
    except StopIteration as end:
        return end.value
