"""Causal attention in blocks of queries, for whole sequences in bf16 on the CPU: twice torch's kernel there.

A block of queries meets the keys up to its end only, in two matrix products with a softmax between; the
query heads that share a key head are rows of one product. Nothing is kept for later tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.models.products import bf16_products, has_bf16_products

NAME = "qcourse-blocks"
BLOCK = 64  # queries; one block's scores then stay in the cache near the core


def settle_attention(config: Any) -> None:
    """Let a model that caps its attention scores compute them in full: torch's kernel leaves the cap out."""
    if getattr(config, "attn_logit_softcapping", None) is not None:
        config._attn_implementation = "eager"


@contextmanager
def blockwise_attention(config: Any) -> Iterator[None]:
    """Let the modules that share `config` attend in blocks; for models on torch's own attention ("sdpa").

    What the blocks do not cover (masks, caches, other dtypes and devices) goes to torch's as before.
    """
    if config._attn_implementation != "sdpa":
        yield
        return
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers asks: [batch, heads, length, width] in, [batch, length, heads, width] out."""
    whole = attention_mask is None and query.shape[2] == key.shape[2] > 1
    if whole and query.dtype == torch.bfloat16 and query.device.type == "cpu" and not torch.is_grad_enabled():
        return causal_attention(query, key, value, options["scaling"]).transpose(1, 2), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Return softmax(scaling * Q K^T) V, each query seeing the keys up to its own; shaped like `query`.

    query: bf16 [batch, heads, length, width]; key, value: the same with as many heads or a divisor of them.
    Scores and softmax are float32, probabilities are rounded to bf16.
    """
    batch, heads, length, width = query.shape
    shared = batch * key.shape[1]
    queries = query.reshape(shared, -1, length, width)
    keys = key.reshape(shared, length, -1).mT.contiguous().float()
    values = value.reshape(shared, length, -1)
    if not has_bf16_products():
        values = values.float()  # the product is rounded when it is put into the result
    hidden = torch.full((BLOCK, BLOCK), float("-inf")).triu(1)
    result = torch.empty(*queries.shape[:3], values.shape[-1], dtype=value.dtype)
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        rows = queries[:, :, start:stop].float().flatten(1, 2)
        with bf16_products():
            scores = rows.new_empty(1, 1, 1).baddbmm(rows, keys[:, :, :stop], beta=0, alpha=scaling)
        scores.unflatten(1, (-1, stop - start))[..., start:] += hidden[: stop - start, : stop - start]
        shares = torch.softmax(scores, -1).to(value.dtype)
        product = torch.bmm(shares.to(values.dtype), values[:, :stop])
        result[:, :, start:stop] = product.unflatten(1, (-1, stop - start))
    return result.view(batch, heads, length, -1)
