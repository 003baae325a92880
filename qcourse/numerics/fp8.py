"""Eight-bit floating point: E4M3, E5M2, and the E4M3FNUZ of MI300."""

import torch
from torch import Tensor

from qcourse.numerics.checks import check_finite
from qcourse.numerics.grid import storable_scale
from qcourse.numerics.types import QuantizedWeight

LARGEST = {torch.float8_e4m3fn: 448.0, torch.float8_e5m2: 57344.0, torch.float8_e4m3fnuz: 240.0}
GRANULARITIES = ("tensor", "channel", "block")
BLOCK = (128, 128)


def quantize_fp8(
    weight: Tensor,
    granularity: str = "channel",
    dtype: torch.dtype = torch.float8_e4m3fn,
    block: tuple[int, int] = BLOCK,
    storable: bool = True,
) -> QuantizedWeight:
    """Scale a weight so that the largest magnitude meets the format's largest value, then cast.

    weight: [out, in], finite; granularity: one scale a tensor [1, 1], a row [out, 1], or a block
    [ceil(out / 128), ceil(in / 128)]. storable: round scales to what bf16 and fp16 hold.
    Relative error of a normal value: at most 2**-4 (E4M3), 2**-3 (E5M2).
    Raises ValueError for values not finite or an unknown granularity.
    Source: Micikevicius et al. 2022 (arXiv 2209.05433); DeepSeek-V3 (arXiv 2412.19437) for blocks.
    """
    check_finite(weight)
    absmax = absmax_of(weight.float(), granularity, block)
    scale = scale_of(absmax, dtype)
    scale = storable_scale(scale) if storable else scale
    name = str(dtype).removeprefix("torch.")
    shape = block if granularity == "block" else None
    quantized = QuantizedWeight(weight, scale, None, 8, -1, name, block_shape=shape)
    quantized.codes = cast_fp8(weight.float() / quantized.per_column(scale), dtype)
    return quantized


def scale_of(absmax: Tensor, dtype: torch.dtype) -> Tensor:
    """Return absmax / the format's largest value, and 1 where that is 0 (zeros, the smallest denormals)."""
    scale = absmax / LARGEST[dtype]
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def absmax_of(weight: Tensor, granularity: str, block: tuple[int, int] = BLOCK) -> Tensor:
    """Return the largest magnitude of the tensor, of each row, or of each block."""
    if granularity == "tensor":
        return weight.abs().amax().reshape(1, 1)
    if granularity in ("channel", "token"):
        return weight.abs().amax(1, keepdim=True)
    if granularity == "block":
        tall, wide = -weight.shape[0] % block[0], -weight.shape[1] % block[1]
        padded = torch.nn.functional.pad(weight, (0, wide, 0, tall)).abs()
        return padded.unflatten(1, (-1, block[1])).unflatten(0, (-1, block[0])).amax((1, 3))
    raise ValueError(f"unknown granularity {granularity!r}; known are {', '.join(GRANULARITIES)}")


def cast_fp8(values: Tensor, dtype: torch.dtype = torch.float8_e4m3fn) -> Tensor:
    """Round to the nearest FP8 value, ties to even, saturating.

    The clamp is ours because torch's cast saturates only since 2.12: before, 449 became NaN.
    """
    return values.clamp(-LARGEST[dtype], LARGEST[dtype]).to(dtype)


def fake_quantize_tokens(values: Tensor, dtype: torch.dtype = torch.float8_e4m3fn) -> Tensor:
    """Quantize and dequantize activations with one dynamic scale a token; any shape [..., features]."""
    scale = scale_of(values.float().abs().amax(-1, keepdim=True), dtype)
    return cast_fp8(values.float() / scale, dtype).float() * scale


def fake_quantize_static(
    values: Tensor, scale: Tensor | float, dtype: torch.dtype = torch.float8_e4m3fn
) -> Tensor:
    """Quantize and dequantize activations with a scale fixed in calibration; what exceeds it saturates."""
    return cast_fp8(values.float() / scale, dtype).float() * scale


def fake_quantize_blocks(
    values: Tensor, block: int = 128, dtype: torch.dtype = torch.float8_e4m3fn
) -> Tensor:
    """Quantize and dequantize activations with one dynamic scale for each token's 128 features."""
    columns = values.shape[-1]
    groups = torch.nn.functional.pad(values.float(), (0, -columns % block)).unflatten(-1, (-1, block))
    return fake_quantize_tokens(groups, dtype).flatten(-2)[..., :columns]
