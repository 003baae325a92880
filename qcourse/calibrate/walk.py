"""Running a model one decoder layer at a time: each sees what the layers before it, as they are now, give.

A walk holds the hidden states of all calibration tokens at one depth. Each layer runs in stages: the caller
sees what a set of linears reads, changes those linears as it likes, and the walk goes on with the changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.calibrate.step import CalibrationStep
from qcourse.models import decoder_layers
from qcourse.models.experts import separate_experts

TOKENS_AT_ONCE = 2048


@torch.no_grad()
def walk(
    model: nn.Module, tokens: Tensor, start: int = 0, states: list[Tensor] | None = None,
    with_target: bool = False, all_experts: bool = False
) -> Iterator[CalibrationStep]:  # fmt: skip
    """Yield each decoder layer with its inputs; the layer, as changed then, computes the next one's.

    tokens: LongTensor [n_sequences, seq_len]. start, states: go on at a later layer with the hidden states
    (and then the target's) that enter it, from an earlier walk over the same tokens.
    with_target: carry the hidden states of the unquantized model beside the others. all_experts: calibrate
    every expert of a mixture on every token, not only on those that its router sends there.
    Peak extra memory: the hidden states of all tokens three times and the widest input once.
    """
    layers = decoder_layers(separate_experts(model))
    hidden, arguments = first_inputs(model, tokens)
    target = [batch.clone() for batch in hidden] if with_target else []
    if states is not None:
        hidden, target = states[: len(hidden)], states[len(hidden) :]
    for index in range(start, len(layers)):
        last = index + 1 == len(layers)
        step = CalibrationStep(index, layers[index], hidden, arguments[index:], target, last, all_experts)
        yield step
        if not last:
            hidden, target = step.computed()


def first_inputs(model: nn.Module, tokens: Tensor) -> tuple[list[Tensor], list[list[dict[str, Any]]]]:
    """Return, for each batch, what enters the first layer; for each layer and batch, the arguments beside it.

    For this one pass through the model every layer hands on what it is given.
    """
    layers, hidden = decoder_layers(model), []
    arguments: list[list[dict[str, Any]]] = [[] for _ in layers]

    def keep(index: int, hidden_states: Tensor, **given: Any) -> Tensor:
        hidden.extend([hidden_states] if index == 0 else [])
        arguments[index].append(given)
        return hidden_states

    for index, layer in enumerate(layers):
        layer.forward = partial(keep, index)
    try:
        for batch in tokens.split(max(1, TOKENS_AT_ONCE // tokens.shape[1])):
            model.model(batch.to(model.device), use_cache=False)
    finally:
        for layer in layers:
            del layer.forward
    return hidden, arguments


@torch.no_grad()
def importance_matrix(model: nn.Module, tokens: Tensor, all_experts: bool = False) -> dict[str, Tensor]:
    """Return, by full name of linear, the mean of x**2 over tokens, float32 [in]: llama.cpp's imatrix.

    Experts that no token reaches have none. all_experts: as in `walk`.
    """
    result = {}
    for step in walk(model, tokens, all_experts=all_experts):
        for item in step.stages(gram=False):
            for name in item.names if item.n_tokens else ():
                result[f"model.layers.{step.index}.{name}"] = item.mean_square.clone()
    return result
