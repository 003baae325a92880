"""Running a model one decoder layer at a time: each sees what the layers before it, as they are now, give.

A walk holds the hidden states of all calibration tokens at one depth. Each layer runs in stages: the caller
sees what a set of linears reads, changes those linears as it likes, and the walk goes on with the changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.calibrate.step import CalibrationStep
from qcourse.models import decoder_layers

TOKENS_AT_ONCE = 2048


class _ReachedLayers(Exception):
    """Ends a forward pass at the first decoder layer."""


@torch.no_grad()
def walk(
    model: nn.Module,
    tokens: Tensor,
    start: int = 0,
    states: list[Tensor] | None = None,
    with_target: bool = False,
) -> Iterator[CalibrationStep]:
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
        last = index + 1 == len(layers)
        step = CalibrationStep(index, layers[index], hidden, arguments, target, last)
        yield step
        if not last:
            hidden, target = step.computed()


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
                result[f"model.layers.{step.index}.{name}"] = item.mean_square.clone()
    return result
