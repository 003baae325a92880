"""How large keys and values get over calibration tokens: the ground of a quantized KV cache's scales."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qcourse.calibrate.walk import TOKENS_AT_ONCE
from qcourse.common import QCourseError
from qcourse.models import decoder_layers
from qcourse.models.attention import blockwise_attention
from qcourse.models.kv_states import changed_keys_values


@dataclass(frozen=True)
class KVRange:
    """Largest magnitudes of one decoder layer's keys (after rotary embedding) and values over all tokens.

    key_channels, value_channels: float32 [kv_heads, head_dim], on the CPU.
    """

    key_channels: Tensor
    value_channels: Tensor

    @property
    def key(self) -> Tensor:
        """Largest |key| of each head, float32 [kv_heads]."""
        return self.key_channels.amax(1)

    @property
    def value(self) -> Tensor:
        """Largest |value| of each head, float32 [kv_heads]."""
        return self.value_channels.amax(1)


@torch.no_grad()
def kv_ranges(model: Any, tokens: Tensor) -> list[KVRange]:
    """Return each decoder layer's range of keys and values over token ids [n_sequences, seq_len].

    Raises QCourseError for no tokens, an unsupported architecture, and keys or values that are not finite.
    """
    if tokens.dim() != 2 or tokens.numel() == 0:
        raise QCourseError(f"calibration needs token ids [sequences, length], not {list(tokens.shape)}")
    found: list[list[Tensor]] = [[] for _ in decoder_layers(model)]

    def note(layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        largest = torch.stack([channel_absmax(key), channel_absmax(value)]).cpu()
        found[layer] = [torch.stack([largest, *found[layer]]).amax(0)]
        return key, value

    with blockwise_attention(model.config), changed_keys_values(model, note):
        for batch in tokens.split(max(1, TOKENS_AT_ONCE // tokens.shape[1])):
            model(input_ids=batch.to(model.device), use_cache=False, logits_to_keep=1)
    for index, (largest,) in enumerate(found):
        check_range(index, largest)
    return [KVRange(*largest) for (largest,) in found]


def channel_absmax(states: Tensor) -> Tensor:
    """Return the largest magnitudes of [batch, kv_heads, tokens, head_dim], float32 [kv_heads, head_dim]."""
    return states.abs().amax((0, 2)).float()


def check_range(layer: int, largest: Tensor) -> None:
    """Raise QCourseError if a layer's keys or values [2, kv_heads, head_dim] became NaN or infinite."""
    for what, magnitudes in zip(("keys", "values"), largest, strict=True):
        if not magnitudes.isfinite().all():
            raise QCourseError(
                f"the {what} of decoder layer {layer} hold NaN or infinity on the calibration tokens; "
                "check the checkpoint, or load it in bfloat16 or float32"
            )
