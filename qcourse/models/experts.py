"""Mixtures of experts with linears of their own for every expert, under the names that checkpoints give them.

transformers 5 keeps all experts of a layer in two tensors of three dimensions, which no method of a linear
takes apart.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common.layouts import LAYOUTS


class Expert(nn.Module):
    """One expert: down(act(gate(x)) * up(x)); its three linears are called `names` (gate, up, down)."""

    def __init__(self, names: tuple[str, ...], weights: tuple[Tensor, ...], act: Any) -> None:
        super().__init__()
        self.names, self.act = names, act
        for name, weight in zip(names, weights, strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
            linear.weight = nn.Parameter(weight)
            setattr(self, name, linear)

    def inner(self, inputs: Tensor) -> Tensor:
        """Return what the last linear reads, [tokens, inner]."""
        gate, up, _ = (getattr(self, name) for name in self.names)
        return self.act(gate(inputs)) * up(inputs)

    def down(self, inner: Tensor) -> Tensor:
        """Return the expert's output, [tokens, hidden], of what the last linear reads."""
        return getattr(self, self.names[2])(inner)


class Experts(nn.ModuleList):
    """The experts of a layer, in place of transformers' module of the same call."""

    def forward(self, hidden: Tensor, index: Tensor, shares: Tensor) -> Tensor:
        """Return [tokens, hidden]: each token's experts summed by shares; index, shares: [tokens, k]."""
        total = torch.zeros_like(hidden)
        for number in index.unique().tolist():
            rows, share = sent_to(number, index, shares)
            expert = self[number]
            total.index_add_(0, rows, (expert.down(expert.inner(hidden[rows])) * share).to(total.dtype))
        return total


def sent_to(number: int, index: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tokens that a router sends to an expert, [n], and their shares, [n, 1]."""
    rows, place = torch.where(index == number)
    return rows, shares[rows, place, None]


def separate_experts(model: nn.Module) -> nn.Module:
    """Give every expert of a model linears of its own, in place and once; other models stay; return it.

    The linears' weights are views of the tensors that they replace: no memory is taken.
    """
    row = LAYOUTS.get(getattr(model.config, "model_type", ""))
    for layer in model.model.layers if row and row.experts else ():
        fused = getattr(layer.mlp, "experts", None)
        if fused is None or isinstance(fused, Experts):
            continue
        layer.mlp.experts = Experts(
            Expert(row.experts, (*both.data.chunk(2), down.data), fused.act_fn)
            for both, down in zip(fused.gate_up_proj, fused.down_proj, strict=True)
        )
        rename_block(layer, row.block)
    return model


def rename_block(layer: nn.Module, name: str) -> None:
    """Register a layer's MLP under the name of checkpoints; the layer still finds it as `mlp`."""
    if name != "mlp":
        block = layer._modules.pop("mlp")
        setattr(layer, name, block)
        object.__setattr__(layer, "mlp", block)  # beside the modules: no second name in the state_dict


def routers(model: nn.Module) -> list[str]:
    """Return the full names of a model's routers, which no recipe quantizes."""
    return [f"{name}.gate" for name, module in model.named_modules()
            if isinstance(getattr(module, "experts", None), Experts)]  # fmt: skip
