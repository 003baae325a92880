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


@torch.no_grad()
def stage_inputs(
    layer: nn.Module, hidden: list[Tensor], arguments: list[dict[str, Any]]
) -> Generator[list[Tensor], None, list[Tensor]]:
    """Yield what the linears of each of the layout's stages read, batch by batch; return the layer's output.

    hidden: the batches that enter the layer, [sequences, length, hidden], replaced in the list by what leaves
    the attention; arguments: what goes beside each.
    Each stage is computed when it is asked for, by the linears as they are then.
    """
    attention, mlp = layer.self_attn, layer.mlp
    before, after, before_mlp, after_mlp = (
        getattr(layer, name) if name else nn.Identity() for name in layout(attention.config).norms
    )
    inputs = [before(batch) for batch in hidden]
    yield inputs
    with without(attention, "o_proj"), blockwise_attention(attention.config):
        inputs = [attention(batch, **given)[0] for batch, given in zip(inputs, arguments, strict=True)]
    yield inputs
    for index, read in enumerate(inputs):
        hidden[index] = hidden[index] + after(attention.o_proj(read))
    inputs = [before_mlp(batch) for batch in hidden]
    yield inputs
    with without(mlp, "down_proj"):
        inputs = [mlp(batch) for batch in inputs]
    yield inputs
    return [batch + after_mlp(mlp.down_proj(read)) for batch, read in zip(hidden, inputs, strict=True)]


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
