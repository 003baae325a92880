"""Running a model one decoder layer at a time: each sees what the layers before it, as they are now, give.

A walk holds the hidden states of all calibration tokens at one depth. At each layer the caller collects
statistics, changes the layer as it likes, and the walk then computes the next depth with the changed layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.calibrate.statistics import InputStatistics
from qcourse.models import decoder_layers

TOKENS_AT_ONCE = 4096


class _ReachedLayers(Exception):
    """Ends a forward pass at the first decoder layer."""


@dataclass
class LayerStep:
    """One decoder layer of a walk: its index, its module, and the hidden states that enter it."""

    index: int
    layer: nn.Module
    hidden: list[Tensor]
    arguments: list[dict[str, Any]]

    def linears(self) -> dict[str, nn.Linear]:
        """Return the layer's linears by name relative to the layer, in forward order."""
        return {name: module for name, module in self.layer.named_modules() if isinstance(module, nn.Linear)}

    def cast(self, dtype: torch.dtype) -> None:
        """Hold the weights of the layer's linears in `dtype` from here on."""
        for module in self.linears().values():
            module.weight.data = module.weight.data.to(dtype)

    def collect(self, gram: bool = True, magnitudes: bool = True) -> list[InputStatistics]:
        """Run the layer over all tokens; return statistics for each set of linears that share an input."""
        shared = self.shared_inputs()
        statistics = []
        for names in shared:
            module = self.linears()[names[0]]
            statistics.append(
                InputStatistics(names, module.in_features, gram, magnitudes, module.weight.device)
            )
        handles = [
            self.linears()[item.names[0]].register_forward_pre_hook(_adder(item)) for item in statistics
        ]
        self._run_discarding(handles, len(self.hidden))
        return statistics

    def shared_inputs(self) -> list[list[str]]:
        """Return the linears grouped by the activation they read, found by running one small batch."""
        seen: list[tuple[str, Tensor]] = []  # holds the tensors, so that no memory address is used twice
        handles = [
            module.register_forward_pre_hook(lambda _, args, name=name: seen.append((name, args[0])))
            for name, module in self.linears().items()
        ]
        self._run_discarding(handles, 1)
        groups: list[tuple[Tensor, list[str]]] = []
        for name, tensor in seen:
            match = next((names for other, names in groups if other is tensor), None)
            match.append(name) if match is not None else groups.append((tensor, [name]))
        return [names for _, names in groups]

    @torch.no_grad()
    def _run_discarding(self, handles: list[Any], n_batches: int) -> None:
        try:
            for hidden, arguments in list(zip(self.hidden, self.arguments, strict=True))[:n_batches]:
                self.layer(hidden, **arguments)
        finally:
            for handle in handles:
                handle.remove()

    def outputs(self) -> Iterator[Tensor]:
        """Yield the layer's output for each batch, with the layer as it is now."""
        for hidden, arguments in zip(self.hidden, self.arguments, strict=True):
            result = self.layer(hidden, **arguments)
            yield result[0] if isinstance(result, tuple) else result


def _adder(item: InputStatistics) -> Callable:
    return lambda _, args: item.add(args[0])


@torch.no_grad()
def walk(
    model: nn.Module, tokens: Tensor, start: int = 0, states: list[Tensor] | None = None
) -> Iterator[LayerStep]:
    """Yield each decoder layer with its inputs; the layer, as changed then, computes the next one's.

    tokens: LongTensor [n_sequences, seq_len]. start, states: go on at a later layer with the hidden states
    that enter it, from an earlier walk over the same tokens.
    Peak extra memory: the hidden states of all tokens, twice.
    """
    layers = decoder_layers(model)
    hidden, arguments = first_inputs(model, tokens)
    hidden = hidden if states is None else states
    for index in range(start, len(layers)):
        step = LayerStep(index, layers[index], hidden, arguments)
        yield step
        if index + 1 < len(layers):
            for position, output in enumerate(step.outputs()):
                hidden[position] = output


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
        for item in step.collect(gram=False):
            for name in item.names:
                result[f"model.layers.{step.index}.{name}"] = item.mean_square
    return result
