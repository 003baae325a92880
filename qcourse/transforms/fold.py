"""Where a scale can hide: an activation divided by s in the module before, its readers multiplied by s."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Link:
    """An activation with the module that produces it and the linears that read it.

    repeat: how many query heads share a value channel (grouped KV heads); 1 elsewhere.
    """

    producer: str
    consumers: tuple[str, ...]
    head_dim: int = 0
    repeat: int = 1


def links(layer: Any) -> list[Link]:
    """Return the foldable activations of a Llama- or Qwen-like decoder layer."""
    attention = layer.self_attn
    repeat = attention.o_proj.in_features // attention.v_proj.out_features
    return [
        Link("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Link("self_attn.v_proj", ("self_attn.o_proj",), attention.head_dim, repeat),
        Link("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
        Link("mlp.up_proj", ("mlp.down_proj",)),
    ]


def fold(layer: Any, link: Link, scale: Tensor) -> Tensor:
    """Divide the link's activation by `scale` and multiply its readers' columns by it; return the scale used.

    scale: positive float32 [columns of the readers]; under grouped KV heads equal for the query heads that
    share a value channel. A norm in 16 bits cannot hold every quotient, so the scale is first moved to one it
    holds exactly: the readers then absorb exactly what the norm gave up.
    """
    producer = layer.get_submodule(link.producer)
    if isinstance(producer, nn.Linear):
        rows = shared_scale(scale, link)
        producer.weight.data = (producer.weight.data.float() / rows[:, None]).to(producer.weight.dtype)
        if producer.bias is not None:
            producer.bias.data = (producer.bias.data.float() / rows).to(producer.bias.dtype)
    else:
        scale = held(layer, link, scale)
        producer.weight.data = (producer.weight.data.float() / scale).to(producer.weight.dtype)
    for name in link.consumers:
        weight = layer.get_submodule(name).weight
        weight.data = (weight.data.float() * scale).to(weight.dtype)
    return scale


def held(layer: Any, link: Link, scale: Tensor) -> Tensor:
    """Return the scale that `fold` uses where it is asked for `scale`: one that the producer holds."""
    producer = layer.get_submodule(link.producer)
    return scale if isinstance(producer, nn.Linear) else exact_scale(producer.weight.data, scale)


def exact_scale(norm: Tensor, scale: Tensor) -> Tensor:
    """Return the scale nearest to `scale` by which the norm's weight divides without rounding error.

    A weight of 0 divides by any.
    """
    moved = (norm.float() / scale).to(norm.dtype).float()
    lost = torch.where(norm == 0, scale, torch.ones_like(scale))
    return torch.where(moved == 0, lost, norm.float() / moved)


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
