"""Running a model one decoder layer at a time: each sees what the layers before it, as they are now, give.

A walk holds the hidden states of all calibration tokens at one depth. Each layer runs in stages: the caller
sees what a set of linears reads, changes those linears as it likes, and the walk goes on with the changed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.calibrate.stages import STAGES, check_reached, stage_inputs
from qcourse.calibrate.statistics import InputStatistics
from qcourse.models import decoder_layers

TOKENS_AT_ONCE = 2048


class _ReachedLayers(Exception):
    """Ends a forward pass at the first decoder layer."""


@dataclass
class LayerStep:
    """One decoder layer of a walk: its index, its module, and the hidden states that enter it.

    target: the hidden states that enter it in the unquantized model, or [] where nobody asks for them.
    """

    index: int
    layer: nn.Module
    hidden: list[Tensor]
    arguments: list[dict[str, Any]]
    target: list[Tensor] = field(default_factory=list)
    results: tuple[list[Tensor], list[Tensor]] | None = None
    runs: list[Iterator] = field(default_factory=list)  # of stages whose statistics have all been given

    def linears(self) -> dict[str, nn.Linear]:
        """Return the layer's linears by name relative to the layer, in forward order."""
        return {name: module for name, module in self.layer.named_modules() if isinstance(module, nn.Linear)}

    def cast(self, dtype: torch.dtype) -> None:
        """Hold the weights of the layer's linears in `dtype` from here on."""
        for module in self.linears().values():
            module.weight.data = module.weight.data.to(dtype)

    def stages(
        self, gram: bool = True, magnitudes: bool = True, once: bool = False
    ) -> Iterator[InputStatistics]:
        """Yield the statistics of each input that linears share; later ones see those linears as changed.

        once: let go of what enters the layer as soon as it is used; the stages cannot run again then.
        Raises QCourseError when the layer has linears that no stage reads.
        """
        linears = self.linears()
        check_reached(linears)
        hidden, target = (states if once else list(states) for states in (self.hidden, self.target))
        runs = [stage_inputs(self.layer, hidden, self.arguments)]
        if target:
            runs.append(stage_inputs(copy.deepcopy(self.layer), target, self.arguments))
        for names in STAGES:
            module = linears[names[0]]
            item = InputStatistics(
                list(names), module.in_features, gram, magnitudes, bool(self.target), module.weight.device
            )
            for batch in zip(*map(next, runs), strict=True):
                item.add(*batch)
            yield item
        self.runs = runs

    def collect(
        self, gram: bool = True, magnitudes: bool = True, hand_on: bool = False
    ) -> list[InputStatistics]:
        """Return the statistics of all shared inputs of the layer as it is; it may be changed afterwards.

        hand_on: the next layer gets this one's outputs as they are now, which saves a pass over the tokens.
        """
        statistics = list(self.stages(gram, magnitudes, once=hand_on))
        if hand_on:
            self.outputs()
        self.runs = []
        return statistics

    def outputs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the layer's outputs and those of the unquantized model; no stage runs twice."""
        if self.results is None:
            if not self.runs:
                finish(self.stages(gram=False, magnitudes=False))
            hidden, *target = [finish(run) for run in self.runs]
            self.results = hidden, target[0] if target else []
        return self.results


def finish(run: Iterator) -> Any:
    """Run a generator to its end and return its result."""
    try:
        while True:
            next(run)
    except StopIteration as end:
        return end.value


@torch.no_grad()
def walk(
    model: nn.Module,
    tokens: Tensor,
    start: int = 0,
    states: list[Tensor] | None = None,
    with_target: bool = False,
) -> Iterator[LayerStep]:
    """Yield each decoder layer with its inputs; the layer, as changed then, computes the next one's.

    tokens: LongTensor [n_sequences, seq_len]. start, states: go on at a later layer with the hidden states
    (and then the target's) that enter it, from an earlier walk over the same tokens.
    with_target: carry the hidden states of the unquantized model beside the others.
    Peak extra memory: the hidden states of all tokens three times and the widest input once.
    """
    layers = decoder_layers(model)
    hidden, arguments = first_inputs(model, tokens)
    target = [batch.clone() for batch in hidden] if with_target else []
    if states is not None:
        hidden, target = states[: len(hidden)], states[len(hidden) :]
    for index in range(start, len(layers)):
        step = LayerStep(index, layers[index], hidden, arguments, target)
        yield step
        if index + 1 < len(layers):
            hidden, target = step.outputs()


def first_inputs(model: nn.Module, tokens: Tensor) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Return, for each batch, the hidden states that enter the first layer and the arguments beside them."""
    hidden, arguments = [], []

    def keep(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        hidden.append(args[0] if args else kwargs["hidden_states"])
        arguments.append({key: value for key, value in kwargs.items() if key != "hidden_states"})
        raise _ReachedLayers

    handle = decoder_layers(model)[0].register_forward_pre_hook(keep, with_kwargs=True)
    sequences = max(1, TOKENS_AT_ONCE // tokens.shape[1])
    try:
        for batch in tokens.split(sequences):
            try:
                model(batch.to(model.device), use_cache=False)
            except _ReachedLayers:
                continue
    finally:
        handle.remove()
    return hidden, arguments


@torch.no_grad()
def importance_matrix(model: nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    """Return, by full name of linear, the mean of x**2 over tokens, float32 [in]: llama.cpp's imatrix."""
    result = {}
    for step in walk(model, tokens):
        for item in step.stages(gram=False):
            for name in item.names:
                result[f"model.layers.{step.index}.{name}"] = item.mean_square
    return result
