"""Keys and values in eight bits: what a quantized KV cache keeps of them.

Tensors are [batch, kv_heads, tokens, head_dim]. Values and keys in FP8 take one scale a tensor (vLLM's
default, often 1) or a head; int8 takes one a token; keys have outlier channels, so one a channel suits them.
"""

import torch
from torch import Tensor

from qcourse.numerics.checks import check_finite
from qcourse.numerics.fp8 import LARGEST, cast_fp8
from qcourse.numerics.grid import storable_scale

DIMENSIONS = {"tensor": (0, 1, 2, 3), "head": (0, 2, 3), "token": (3,), "channel": (0, 2)}
LARGEST_CODE = {"fp8": LARGEST[torch.float8_e4m3fn], "int8": 127.0}


def kv_absmax(values: Tensor, granularity: str) -> Tensor:
    """Return the largest magnitude over what shares a scale, with kept dimensions; ValueError if unknown."""
    if granularity not in DIMENSIONS:
        raise ValueError(f"unknown granularity {granularity!r}; known are {', '.join(DIMENSIONS)}")
    return values.float().abs().amax(DIMENSIONS[granularity], keepdim=True)


def kv_scale(absmax: Tensor, dtype: str = "fp8") -> Tensor:
    """Return the scale that a checkpoint stores for a calibrated absmax, float32 of the same shape.

    absmax / 448 ("fp8") or / 127 ("int8"), rounded to what bf16 and fp16 hold; 1 where nothing but zeros
    was seen. Raises ValueError for an unknown dtype or a scale that fp16 cannot hold.
    """
    if dtype not in LARGEST_CODE:
        raise ValueError(f"unknown KV cache dtype {dtype!r}; known are {', '.join(LARGEST_CODE)}")
    scale = storable_scale(absmax.float() / LARGEST_CODE[dtype])
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def fake_quantize_kv_fp8(
    values: Tensor,
    granularity: str = "tensor",
    dtype: torch.dtype = torch.float8_e4m3fn,
    scale: Tensor | float | None = None,
) -> Tensor:
    """Quantize and dequantize keys or values to FP8, same shape and dtype.

    scale: fixed beforehand (1.0 is what an uncalibrated checkpoint gets in vLLM), else absmax / 448.
    Raises ValueError for values not finite or an unknown granularity.
    """
    check_finite(values)
    if scale is None:
        scale = kv_absmax(values, granularity).clamp(min=1e-12) / LARGEST[dtype]
    return dequantized(cast_fp8(values.float() / scale, dtype).float(), scale, values.dtype)


def fake_quantize_kv_int(
    values: Tensor,
    granularity: str = "token",
    scale: Tensor | float | None = None,
    bits: int = 8,
    exact_first: int = 0,
) -> Tensor:
    """Quantize and dequantize keys or values to symmetric integers, same shape and dtype.

    scale: fixed beforehand, else absmax / (2**(bits - 1) - 1); ties go to the even code. exact_first: tokens
    at the start (attention sinks) that stay as they are and that no scale is shared with.
    Raises ValueError for values not finite, an unknown granularity or bits outside 2..8.
    Source: granularities, Liu et al. 2024 (KIVI, arXiv 2402.02750); sinks, Xiao et al. 2023 (2309.17453).
    """
    check_finite(values)
    if not 2 <= bits <= 8:
        raise ValueError(f"{bits} bits; integers of a KV cache have 2 to 8")
    if exact_first:
        later = values[:, :, exact_first:]
        changed = fake_quantize_kv_int(later, granularity, scale, bits) if later.numel() else later
        return torch.cat([values[:, :, :exact_first], changed], 2)
    largest = 2 ** (bits - 1) - 1
    if scale is None:
        scale = kv_absmax(values, granularity).clamp(min=1e-12) / largest
    return dequantized(torch.round(values.float() / scale).clamp_(-largest, largest), scale, values.dtype)


def dequantized(codes: Tensor, scale: Tensor | float, dtype: torch.dtype) -> Tensor:
    """Return float32 codes times their scale in `dtype`.

    Clamped, because 127 * (absmax / 127) may round to above the largest number there is.
    """
    largest = torch.finfo(dtype).max
    return (codes * scale).clamp_(-largest, largest).to(dtype)


def kv_bytes_per_token(
    layers: int, kv_heads: int, head_dim: int, bits: int, granularity: str = "tensor"
) -> float:
    """Return the bytes a token adds to the cache: keys and values of all layers, its own float16 scales."""
    values = 2 * layers * kv_heads * head_dim
    scales = 2 * layers * kv_heads * 2 if granularity == "token" else 0
    return values * bits / 8 + scales
