"""Where a scale can hide: an activation divided by s in the module before, its readers multiplied by s."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common.layouts import layout


@dataclass
class Link:
    """An activation with the module that produces it and the linears that read it.

    rows: how many of a linear producer's last rows make it (values in a fused q, k, v; up in gate, up); 0
    for a norm. repeat: how many query heads share a value channel (grouped KV heads); 1 elsewhere.
    """

    producer: str
    consumers: tuple[str, ...]
    rows: int = 0
    head_dim: int = 0
    repeat: int = 1


def links(layer: Any) -> list[Link]:
    """Return the foldable activations of a decoder layer whose architecture is in the table of layouts.

    Not the norm before a mixture of experts: its router reads it too, and would choose others for a rounding.
    Nor what OLMo 2's attention and MLP read: it is the residual stream itself, whose norms come after them.
    Nor what passes an activation function alone, without a gate: no scale passes it.
    """
    attention, found = layer.self_attn, layout(layer.self_attn.config)
    values = attention.config.num_key_value_heads * attention.head_dim
    repeat = attention.o_proj.in_features // values
    both = [
        *([Link(found.norms[0], found.attention)] if found.norms[0] else []),
        Link(found.attention[-1], ("self_attn.o_proj",), values, attention.head_dim, repeat),
    ]
    if experts := getattr(layer.mlp, "experts", ()):
        places = [found.expert(number) for number in range(len(experts))]
        return both + [Link(up, (down,), layer.get_submodule(down).in_features) for _, up, down in places]
    if found.norms[2]:
        both.append(Link(found.norms[2], found.mlp))
    down = f"mlp.{found.down}"
    if found.gated:
        both.append(Link(found.mlp[-1], (down,), layer.get_submodule(down).in_features))
    return both


def fold(layer: Any, link: Link, scale: Tensor) -> Tensor:
    """Divide the link's activation by `scale` and multiply its readers' columns by it; return the scale used.

    scale: positive float32 [columns of the readers]; under grouped KV heads equal for the query heads that
    share a value channel. A norm in 16 bits cannot hold every quotient, so the scale is first moved to one it
    holds exactly: the readers then absorb exactly what the norm gave up.
    """
    producer = layer.get_submodule(link.producer)
    if isinstance(producer, nn.Linear):
        divide_rows(producer, shared_scale(scale, link))
    else:
        scale, offset = held(layer, link, scale), layout(layer.self_attn.config).norm_offset
        divided = (producer.weight.data.float() + offset) / scale - offset
        producer.weight.data = divided.to(producer.weight.dtype)
        if getattr(producer, "bias", None) is not None:
            producer.bias.data = (producer.bias.data.float() / scale).to(producer.bias.dtype)
    for name in link.consumers:
        weight = layer.get_submodule(name).weight
        weight.data = (weight.data.float() * scale).to(weight.dtype)
    return scale


def divide_rows(producer: nn.Linear, scale: Tensor) -> None:
    """Divide a linear's last rows by one scale each, in place; its weight becomes a tensor of its own."""
    for parameter in (producer.weight, producer.bias):
        if parameter is not None:
            divided = parameter.data.clone()
            last = divided[-len(scale) :]
            last.copy_(last.float() / (scale[:, None] if last.dim() == 2 else scale))
            parameter.data = divided


def held(layer: Any, link: Link, scale: Tensor) -> Tensor:
    """Return the scale that `fold` uses where it is asked for `scale`: one that the producer holds."""
    producer = layer.get_submodule(link.producer)
    if isinstance(producer, nn.Linear):
        return scale
    return exact_scale(producer.weight.data, scale, layout(layer.self_attn.config).norm_offset)


def exact_scale(norm: Tensor, scale: Tensor, offset: float = 0.0) -> Tensor:
    """Return the scale nearest to `scale` by which the norm's weight divides without rounding error.

    offset: what is added to the weight before it multiplies. A sum of 0 divides by any.
    """
    whole = norm.float() + offset
    moved = (whole / scale - offset).to(norm.dtype).float() + offset
    lost = torch.where(whole == 0, scale, torch.ones_like(scale))
    return torch.where(moved == 0, lost, whole / moved)


def shared_scale(scale: Tensor, link: Link) -> Tensor:
    """Return one scale a producer row from one a reader column: [kv_heads * head_dim], [heads * head_dim]."""
    if link.repeat == 1:
        return scale
    return scale.reshape(-1, link.repeat, link.head_dim)[:, 0].reshape(-1)


def pool_query_heads(values: Tensor, link: Link) -> Tensor:
    """Replace per-column values of o_proj's input by their mean over the query heads of each KV head."""
    if link.repeat == 1:
        return values
    heads = values.reshape(-1, link.repeat, link.head_dim)
    return heads.mean(1, keepdim=True).expand_as(heads).reshape(-1)
