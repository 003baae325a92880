"""Keys and values in eight bits: what a quantized KV cache keeps of them.

Tensors are [batch, kv_heads, tokens, head_dim]. Values and keys in FP8 take one scale a tensor (vLLM's
default, often 1) or a head; int8 takes one a token; keys have outlier channels, so one a channel suits them.
"""

import torch
from torch import Tensor

from qcourse.numerics.fp8 import LARGEST, cast_fp8

DIMENSIONS = {"tensor": (0, 1, 2, 3), "head": (0, 2, 3), "token": (3,), "channel": (0, 2)}


def kv_absmax(values: Tensor, granularity: str) -> Tensor:
    """Return the largest magnitude over what shares a scale, with kept dimensions; ValueError if unknown."""
    if granularity not in DIMENSIONS:
        raise ValueError(f"unknown granularity {granularity!r}; known are {', '.join(DIMENSIONS)}")
    return values.float().abs().amax(DIMENSIONS[granularity], keepdim=True)


def fake_quantize_kv_fp8(
    values: Tensor,
    granularity: str = "tensor",
    dtype: torch.dtype = torch.float8_e4m3fn,
    scale: Tensor | float | None = None,
) -> Tensor:
    """Quantize and dequantize keys or values to FP8, same shape and dtype.

    scale: fixed beforehand (1.0 is what an uncalibrated checkpoint gets in vLLM), else absmax / 448.
    """
    if scale is None:
        scale = kv_absmax(values, granularity).clamp(min=1e-12) / LARGEST[dtype]
    return (cast_fp8(values.float() / scale, dtype).float() * scale).to(values.dtype)


def fake_quantize_kv_int8(values: Tensor, granularity: str = "token") -> Tensor:
    """Quantize and dequantize keys or values to symmetric int8 (absmax / 127), same shape and dtype."""
    scale = kv_absmax(values, granularity).clamp(min=1e-12) / 127
    return (torch.round(values.float() / scale).clamp_(-127, 127) * scale).to(values.dtype)


def kv_bytes_per_token(
    layers: int, kv_heads: int, head_dim: int, bits: int, granularity: str = "tensor"
) -> float:
    """Return the bytes a token adds to the cache: keys and values of all layers, its own float16 scales."""
    values = 2 * layers * kv_heads * head_dim
    scales = 2 * layers * kv_heads * 2 if granularity == "token" else 0
    return values * bits / 8 + scales
