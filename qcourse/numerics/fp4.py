"""Four-bit floating point (E2M1): MXFP4 with power-of-two scales, NVFP4 with FP8 scales and a divisor."""

import torch
from torch import Tensor

from qcourse.numerics.checks import check_finite
from qcourse.numerics.grid import split_groups
from qcourse.numerics.types import QuantizedWeight

MX_GROUP, NV_GROUP = 32, 16
LARGEST_FP4, LARGEST_FP8 = 6.0, 448.0


def round_fp4(values: Tensor) -> Tensor:
    """Return 4-bit codes, uint8: three bits of magnitude, then the sign; ties to even, saturating at 6.

    A negative value that rounds to zero keeps its sign, as in compressed-tensors.
    """
    size = values.abs()
    code = (size > 0.25).to(torch.uint8)
    for edge, included in (
        (0.75, True),
        (1.25, False),
        (1.75, True),
        (2.5, False),
        (3.5, True),
        (5.0, False),
    ):
        code += (size >= edge) if included else (size > edge)
    return code | ((values < 0).to(torch.uint8) << 3)


def quantize_mxfp4(weight: Tensor) -> QuantizedWeight:
    """Quantize weight [out, in] in groups of 32 whose scale is a power of two (E8M0, one byte).

    The scale is absmax rounded to a power of two, up from a mantissa of 1.75, and divided by 4.
    Raises ValueError for values not finite or columns that 32 does not divide.
    Source: OCP Microscaling Formats 1.0, section 6.3; compressed-tensors 0.19 generate_mx_scales.
    """
    check_finite(weight)
    groups = split_groups(weight.float(), MX_GROUP)
    scale = power_of_two(groups.abs().amax(-1))
    codes = round_fp4((groups / scale[..., None]).clamp(-LARGEST_FP4, LARGEST_FP4)).reshape(weight.shape)
    return QuantizedWeight(codes, scale, None, 4, MX_GROUP, "mxfp4", scale_bits=8)


def power_of_two(absmax: Tensor) -> Tensor:
    """Return MX scales: 2**(e - 2), e the exponent of absmax after adding a quarter to its mantissa.

    From 2**-127, E8M0's smallest (also for zeros), to 2**125, the largest whose sixfold float32 holds.
    """
    rounded_up = absmax.contiguous().view(torch.int32) + (1 << 21)
    exponent = (rounded_up >> 23) - 127 - 2
    return torch.exp2(exponent.clamp(-127, 125).float())


def quantize_nvfp4(weight: Tensor, global_scale: Tensor | None = None) -> QuantizedWeight:
    """Quantize weight [out, in] in groups of 16 with an FP8 (E4M3) scale each and a float32 divisor a tensor.

    global_scale: 448 * 6 / absmax of the tensor unless given (fused layers share one); the stored group scale
    is FP8(absmax / 6 * global_scale), and a weight is code * scale / global_scale.
    Raises ValueError for values not finite or columns that 16 does not divide.
    Source: NVIDIA NVFP4; compressed-tensors 0.19 calculate_qparams and generate_gparam.
    """
    check_finite(weight)
    groups = split_groups(weight.float(), NV_GROUP)
    if global_scale is None:
        global_scale = divisor(groups.abs().amax())
    scale = (global_scale * (groups.abs().amax(-1) / LARGEST_FP4)).clamp(max=LARGEST_FP8)
    scale = scale.to(torch.float8_e4m3fn).float()
    scale = torch.where(scale == 0, torch.full_like(scale, 0.125), scale)
    scaled = groups / (scale / global_scale)[..., None]
    codes = round_fp4(scaled.clamp(-LARGEST_FP4, LARGEST_FP4)).reshape(weight.shape)
    return QuantizedWeight(codes, scale, None, 4, NV_GROUP, "nvfp4", scale_bits=8, global_scale=global_scale)


def divisor(absmax: Tensor) -> Tensor:
    """Return the tensor-wide divisor 448 * 6 / absmax, float32 0-dim; 1 where that overflows (all zeros)."""
    value = LARGEST_FP8 * LARGEST_FP4 / absmax.clamp(min=torch.finfo(torch.float32).tiny)
    return value if value.isfinite() else torch.ones_like(value)


def pack_fp4(codes: Tensor) -> Tensor:
    """Return two codes a byte, the earlier column in the low half: uint8 [out, in / 2]."""
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def unpack_fp4(packed: Tensor) -> Tensor:
    """Undo `pack_fp4`."""
    return torch.stack([packed & 15, packed >> 4], -1).flatten(1)
