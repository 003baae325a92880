"""LLM.int8(): int8 rows for the weight, int8 tokens for the input, and outlier features kept in 16 bits."""

import torch
from torch import Tensor

from qcourse.numerics import QuantizedWeight, quantize_int8
from qcourse.numerics.checks import check_finite
from qcourse.numerics.half import to_half

THRESHOLD = 6.0
LEVELS = 127


def quantize_layer(weight: Tensor, *, threshold: float = THRESHOLD) -> QuantizedWeight:
    """Round each row of weight [out, in] to int8 by its absmax / 127.

    threshold: what the file tells the engine to keep apart, see `mixed_matmul`.
    The weight is first rounded to float16, as bitsandbytes does before it takes the maxima.
    Raises ValueError for values not finite, and for those beyond float16, of which bitsandbytes makes
    infinite maxima and NaN outputs. Source: Dettmers et al. 2022 (arXiv 2208.07339), section 2.1.
    """
    check_finite(weight)
    half = to_half(weight, "a weight", "take w8a8-int8 or nf4, which do not round weights to it").float()
    absmax = half.abs().amax(1, keepdim=True)
    inverse = torch.where(absmax == 0, torch.zeros_like(absmax), LEVELS / absmax)
    codes = torch.round(half * inverse).to(torch.int8)
    return QuantizedWeight(codes, absmax / LEVELS, None, 8, -1, "int8", scale_bits=32, threshold=threshold)


def mixed_matmul(inputs: Tensor, weight: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Multiply as LLM.int8() does: inputs [..., in] times the dequantized weight [out, in], transposed.

    Input features in which any token reaches `threshold` stay as they are; of the others each token is
    rounded to int8 by its own largest magnitude below the threshold (bitsandbytes takes that maximum over
    all features). Threshold 0 keeps nothing apart. Returns [..., out] in float32.
    """
    rows = inputs.reshape(-1, inputs.shape[-1]).float()
    large = rows.abs() >= (threshold if threshold > 0 else torch.inf)
    outlier = large.any(0)
    codes, scale = quantize_int8(rows.masked_fill(large, 0), levels=LEVELS)
    mixed = torch.where(outlier, rows, codes.float() * scale)
    return (mixed @ weight.float().T).reshape(*inputs.shape[:-1], -1)
