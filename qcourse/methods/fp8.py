"""FP8: a cast with a scale. The eight bits keep an exponent, so outliers cost little."""

import torch
from torch import Tensor

from qcourse.numerics import QuantizedWeight, quantize_fp8


def quantize_layer(
    weight: Tensor, *, granularity: str = "channel", dtype: torch.dtype = torch.float8_e4m3fn
) -> QuantizedWeight:
    """Cast weight [out, in] to FP8 with a scale for the tensor, each channel or each 128x128 block.

    Raises ValueError for values not finite or an unknown granularity.
    Source: Micikevicius et al. 2022 (arXiv 2209.05433).
    """
    return quantize_fp8(weight, granularity, dtype)
