"""Where a causal language model keeps its decoder layers and their linears."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qcourse.common import QCourseError
from qcourse.common.layouts import layout

if TYPE_CHECKING:
    from torch import Tensor, nn

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("w1", "w3"))


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """Return the stack of decoder layers; raises QCourseError for an unsupported architecture."""
    layout(model.config)
    return model.model.layers


def logits_of(model: nn.Module, hidden: Tensor) -> Tensor:
    """Return float32 logits [..., V] of the decoder's output [..., hidden] with its divisor or cap."""
    config, logits = model.config, model.lm_head(hidden)
    if config.model_type == "granite":
        logits = logits / config.logits_scaling
    cap = getattr(config, "final_logit_softcapping", None)
    return (logits if cap is None else (logits / cap).tanh() * cap).float()


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear modules inside the decoder layers by full name, in forward order."""
    from torch import nn

    layers = decoder_layers(model)
    return {
        f"model.layers.{index}.{name}": module
        for index, layer in enumerate(layers)
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear)
    }


def widths(model: nn.Module) -> dict[str, int]:
    """Return the in_features of each linear inside the decoder layers, by full name."""
    return {name: module.in_features for name, module in linears(model).items()}


def fused_groups(names: Iterable[str]) -> list[list[str]]:
    """Group names of linears that engines store as one matrix (q, k, v; gate, up); others stand alone.

    A fused matrix has one width of codes and one tensor-wide scale, whatever its parts were given.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parent, _, last = name.rpartition(".")
        key = next((parts for parts in FUSED if last in parts), (last,))
        groups.setdefault((parent, *key), []).append(name)
    return list(groups.values())


def check_finite(model: nn.Module) -> None:
    """Raise QCourseError naming the first tensor of the model that holds NaN or infinity."""
    for name, tensor in model.named_parameters():
        if tensor.dtype.itemsize > 1 and tensor.sum().isfinite():  # one pass: NaN or infinity spoil any sum
            continue
        bad = int((~tensor.isfinite()).sum())
        if bad:
            raise QCourseError(
                f"{name} holds {bad} values that are NaN or infinite of {tensor.numel()}; "
                "the checkpoint is damaged, download it again"
            )
