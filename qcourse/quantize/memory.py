"""How much memory a run will take, said before it starts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qcourse.calibrate.stages import stages_of
from qcourse.calibrate.walk import TOKENS_AT_ONCE
from qcourse.common import QCourseError
from qcourse.common.machine import available_memory
from qcourse.common.mixtures import is_mixture
from qcourse.models import decoder_layers
from qcourse.recipe import Recipe


def predicted_peak_bytes(
    model: nn.Module, recipe: Recipe, tokens: Tensor | None, streaming: bool = False
) -> int:
    """Return the bytes a run needs beside the model itself, at its largest moment.

    Counted: hidden states of all tokens at three places and the widest input of a linear (twice for GPTAQ),
    one layer's activations for a batch, the Gram matrices of one layer with the factors of the widest, fp32
    copies of the widest stacked weight, and the codes of all layers (of one when streaming).
    """
    modules = [module for module in decoder_layers(model)[0].modules() if isinstance(module, nn.Linear)]
    widest = max(module.in_features for module in modules)
    largest = max(module.weight.numel() for module in modules)
    every = sum(module.weight.numel() for module in modules) * (
        1 if streaming else len(decoder_layers(model))
    )
    needed = every + 4 * 4 * 2 * largest
    if recipe.needs_calibration and tokens is not None:
        states = tokens.numel() * (3 * model.config.hidden_size + widest) * model.dtype.itemsize
        states *= 2 if recipe.variant == "gptaq" else 1
        widths = [*{module.in_features for module in modules}] * 2
        if recipe.transform == "awq" and is_mixture(model.config.model_type):  # it holds those of all experts
            layer = decoder_layers(model)[0]
            widths = [layer.get_submodule(names[0]).in_features for names in stages_of(layer)]
        grams = 4 * (sum(width**2 for width in widths) + 3 * widest**2)
        needed += states + grams + TOKENS_AT_ONCE * widest * 4 * 6
    return needed


def available_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU, or of this machine within its container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory()


def check_memory(model: nn.Module, recipe: Recipe, tokens: Tensor | None, streaming: bool = False) -> None:
    """Raise QCourseError with both numbers when the run does not fit in memory."""
    needed, free = predicted_peak_bytes(model, recipe, tokens, streaming), available_bytes(model.device)
    if needed > free:
        raise QCourseError(
            f"{recipe.name} needs about {needed / 2**30:.1f} GiB beside the model and "
            f"{free / 2**30:.1f} GiB are free; use fewer calibration tokens, "
            "a smaller model, or stream the checkpoint (--stream)"
        )
