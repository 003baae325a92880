"""A model run on keys and values as a quantized KV cache keeps them, for the yardstick to measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from qcourse.calibrate import KVRange
from qcourse.common import QCourseError
from qcourse.models import decoder_layers
from qcourse.models.kv_states import changed_keys_values
from qcourse.numerics.kv import (
    DIMENSIONS,
    LARGEST_CODE,
    fake_quantize_kv_fp8,
    fake_quantize_kv_int,
    kv_scale,
)

FIXED = {
    "tensor": lambda channels: channels.amax().reshape(1, 1, 1, 1),
    "head": lambda channels: channels.amax(1)[None, :, None, None],
    "channel": lambda channels: channels[None, :, None, :],
}
"""Granularities that a range fixes: from absmax [kv_heads, head_dim] to a scale of four dimensions."""

Scales = float | Sequence[KVRange] | None


@contextmanager
def quantized_kv_cache(
    model: nn.Module, dtype: str = "fp8", granularity: str | tuple[str, str] = "tensor", scales: Scales = None
) -> Iterator[None]:
    """Let `model` attend to keys and values as a cache in `dtype` keeps them; exact again after the block.

    dtype: "fp8" (E4M3) or "int8"; granularity: "tensor", "head", "channel" or "token", a pair where keys and
    values differ. scales: the ranges of `calibrate.kv_ranges`; or one number for all (1.0 is what vLLM takes
    for a checkpoint without scales); None takes the absmax of the tokens of each forward, which only "token"
    can do while generating. Inside the block the model's `state_dict` names the cache, so that no
    measurement is mistaken for one of the exact model.
    Raises QCourseError for unknown words, ranges of another model, "token" with ranges, a block in a block.
    """
    kinds = (granularity, granularity) if isinstance(granularity, str) else tuple(granularity)
    check(model, dtype, kinds, scales)
    given = scales if isinstance(scales, Sequence) else [scales] * len(decoder_layers(model))
    fixed = [layer_scales(item, dtype, kinds) for item in given]

    def change(layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        states = zip((key, value), kinds, fixed[layer], strict=True)
        return tuple(fake_quantize(*state, dtype) for state in states)

    words = f"{dtype} {kinds} {[[None if s is None else s.tolist() for s in pair] for pair in fixed]}"
    model.register_buffer("kv_cache", torch.tensor(list(words.encode()), dtype=torch.uint8))
    try:
        with changed_keys_values(model, change):
            yield
    finally:
        del model.kv_cache


def layer_scales(
    given: KVRange | float | None, dtype: str, kinds: tuple[str, str]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the fixed scales of one layer's keys and values; None where each forward finds its own."""
    if given is None:
        return None, None
    if not isinstance(given, KVRange):
        return torch.tensor(float(given)), torch.tensor(float(given))
    channels = zip(kinds, (given.key_channels, given.value_channels), strict=True)
    key, value = (kv_scale(FIXED[kind](absmax), dtype) for kind, absmax in channels)
    return key, value


def fake_quantize(states: Tensor, kind: str, scale: Tensor | None, dtype: str) -> Tensor:
    """Return keys or values [batch, kv_heads, tokens, head_dim] as the cache holds them."""
    if scale is None and kind != "token" and states.shape[2] == 1:
        raise QCourseError(
            f"one token alone fixes no scale a {kind}: give calibrated ranges, or take granularity 'token'"
        )
    scale = None if scale is None else scale.to(states.device)
    if dtype == "fp8":
        return fake_quantize_kv_fp8(states, kind, scale=scale)
    return fake_quantize_kv_int(states, kind, scale)


def check(model: nn.Module, dtype: str, kinds: tuple[str, ...], scales: Scales) -> None:
    """Raise QCourseError unless dtype, granularities and scales are known and fit the model."""
    if hasattr(model, "kv_cache"):
        raise QCourseError("this model's KV cache is quantized already; leave that block first")
    if dtype not in LARGEST_CODE:
        raise QCourseError(f"unknown KV cache dtype {dtype!r}; known are {', '.join(LARGEST_CODE)}")
    if len(kinds) != 2 or any(kind not in DIMENSIONS for kind in kinds):
        raise QCourseError(
            f"unknown granularity {' and '.join(map(repr, kinds))}; known are {', '.join(DIMENSIONS)}, "
            "one word or a pair for keys and values"
        )
    if isinstance(scales, int | float) and not 0 < scales < float("inf"):
        raise QCourseError(f"a scale of {scales} is not usable; give a positive number or calibrated ranges")
    if isinstance(scales, Sequence) and "token" in kinds:
        raise QCourseError("a token's scale is found when it is written; leave the ranges out for 'token'")
    if isinstance(scales, Sequence) and len(scales) != (layers := len(decoder_layers(model))):
        raise QCourseError(f"{len(scales)} ranges do not fit {layers} decoder layers; calibrate this model")
