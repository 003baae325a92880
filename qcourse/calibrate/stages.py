"""A decoder layer run in four stages, so that its linears can change while it runs and nothing runs twice."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.common.layouts import layout
from qcourse.models.attention import blockwise_attention
from qcourse.models.experts import sent_to


def stages_of(layer: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Return the linears of a decoder layer that share an input, in the order of `stage_inputs`."""
    return layout(layer.self_attn.config).stages(len(getattr(layer.mlp, "experts", ())))


@torch.no_grad()
def stage_inputs(
    layer: nn.Module, hidden: list[Tensor], arguments: list[dict[str, Any]], all_experts: bool = False
) -> Generator[list[Tensor], None, list[Tensor]]:
    """Yield what the linears of each of the layout's stages read, batch by batch; return the layer's output.

    hidden: the batches that enter the layer, [sequences, length, hidden], replaced in the list by what leaves
    the attention; arguments: what goes beside each. all_experts: show every expert every token, whatever the
    router says; what leaves the layer stays the router's.
    Each stage is computed when it is asked for, by the linears as they are then.
    """
    attention, mlp = layer.self_attn, layer.mlp
    found = layout(attention.config)
    before, after, before_mlp, after_mlp = (
        getattr(layer, name) if name else nn.Identity() for name in found.norms
    )
    share = getattr(layer, "residual_multiplier", 1.0)  # Granite's
    inputs = [before(batch) for batch in hidden]
    yield inputs
    with without(attention, "o_proj"), blockwise_attention(attention.config):
        inputs = [attention(batch, **given)[0] for batch, given in zip(inputs, arguments, strict=True)]
    yield inputs
    for index, read in enumerate(inputs):
        hidden[index] = hidden[index] + after(attention.o_proj(read)) * share
    inputs = [before_mlp(batch) for batch in hidden]
    if hasattr(mlp, "experts"):
        read = yield from expert_inputs(mlp, inputs, all_experts)
        return [batch + after_mlp(block) for batch, block in zip(hidden, read, strict=True)]
    yield inputs
    with without(mlp, found.down):
        inputs = [mlp(batch) for batch in inputs]
    yield inputs
    down = getattr(mlp, found.down)
    return [batch + after_mlp(down(read)) * share for batch, read in zip(hidden, inputs, strict=True)]


def expert_inputs(
    block: nn.Module, inputs: list[Tensor], all_experts: bool
) -> Generator[list[Tensor], None, list[Tensor]]:
    """Yield for each expert what its gate and up read, then what its down reads; return what the block adds.

    inputs: batches [sequences, length, hidden], all of which are given to the router once.
    """
    tokens = [batch.flatten(0, 1) for batch in inputs]
    totals = [torch.zeros_like(batch) for batch in tokens]
    routes = [block.gate(batch) for batch in tokens]
    for number, expert in enumerate(block.experts):
        sent = [sent_to(number, index, shares) for _, shares, index in routes]
        read = [batch if all_experts else batch[rows] for batch, (rows, _) in zip(tokens, sent, strict=True)]
        yield read
        read = [expert.inner(batch) for batch in read]
        yield read
        for total, batch, (rows, share) in zip(totals, read, sent, strict=True):
            product = expert.down(batch[rows] if all_experts else batch)
            total.index_add_(0, rows, (product * share).to(total.dtype))
    return [total.view_as(batch) for total, batch in zip(totals, inputs, strict=True)]


@contextmanager
def without(module: nn.Module, name: str) -> Iterator[None]:
    """Take the last linear out of a module, which then returns what that linear would read."""
    kept = getattr(module, name)
    setattr(module, name, nn.Identity())
    try:
        yield
    finally:
        setattr(module, name, kept)


def check_reached(linears: dict[str, nn.Linear], stages: tuple[tuple[str, ...], ...]) -> None:
    """Raise QCourseError for linears of a decoder layer that no stage reads."""
    if missing := sorted(set(linears).difference(*stages)):
        raise QCourseError(
            f"calibration never reaches {', '.join(missing)}, which a decoder layer does not usually have; "
            "merge adapters into the model first"
        )
