"""The training form of pico: a plain Llama in one page, with the parameter names of transformers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Dimensions of the model; every inner dimension is a multiple of 256."""

    vocab_size: int = 4096
    hidden_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 64
    intermediate_size: int = 1536
    max_position_embeddings: int = 2048
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-5


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, then scale."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return x / rms(x) * weight, in x's dtype; computed in fp32."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight).to(x.dtype)


def rope_tables(length: int, shape: Shape, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cos and sin, each [length, head_dim], in the half-split layout of transformers."""
    dims, places = (
        torch.arange(*span, device=device).float() for span in ((0, shape.head_dim, 2), (length,))
    )
    angle = torch.outer(places, shape.rope_theta ** (-dims / shape.head_dim)).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to x [batch, heads, length, head_dim]."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Attention(nn.Module):
    """Causal attention with grouped key and value heads, as two batched products."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        queries, keys = shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, queries, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, keys, bias=False)
        self.o_proj = nn.Linear(queries, shape.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the attention output for x [batch, length, hidden]."""
        batch, length, _ = x.shape
        q, k, v = (
            layer(x).view(batch, length, -1, self.shape.head_dim).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        mixed = causal_mix(q, k, v)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))


def causal_mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k^T) v with a causal mask; q [batch, heads, length, dim], k and v with fewer heads.

    The query heads of one key head become rows of one product: on a CPU this
    is faster than scaled_dot_product_attention up to about 512 positions.
    """
    batch, heads, length, dim = q.shape
    groups = k.shape[1]
    if length > 512 or q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    folded = q.reshape(batch * groups, heads // groups * length, dim)
    scores = torch.bmm(folded, k.reshape(batch * groups, length, dim).transpose(1, 2)) * dim**-0.5
    scores = scores.view(batch * groups, heads // groups, length, length)
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.float().masked_fill(future, float("-inf")).softmax(-1).to(v.dtype)
    mixed = torch.bmm(weights.view(batch * groups, -1, length), v.reshape(batch * groups, length, dim))
    return mixed.view(batch, heads, length, dim)


class MLP(nn.Module):
    """The gated feed-forward block: down(silu(gate(x)) * up(x))."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, same shape as x."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer: attention and MLP, each behind a norm and a residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the residual stream after this layer, [batch, length, hidden]."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Pico(nn.Module):
    """Embedding, layers and final norm; the embedding is also the output matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """Return final hidden states [batch, length, hidden] for ids [batch, length]."""
        x = self.embed_tokens(ids)
        cos, sin = rope_tables(ids.shape[1], self.shape, x.device)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token, [..., vocabulary], for final hidden states."""
        return hidden @ self.embed_tokens.weight.T
