"""W8A8 int8: weights in int8 with a scale a row, activations in int8 with a scale a token or a tensor."""

import torch
from torch import Tensor

from qcourse.numerics import QuantizedWeight, quantize_int8, storable_scale
from qcourse.numerics.checks import check_finite

LEVELS = 127.5


def quantize_layer(weight: Tensor) -> QuantizedWeight:
    """Round each row of weight [out, in] to int8 on compressed-tensors' grid.

    Raises ValueError for values not finite.
    Source: Xiao et al. 2022 (arXiv 2211.10438), section 3; compressed-tensors 0.19 calculate_qparams.
    """
    check_finite(weight)
    scale = storable_scale(quantize_int8(weight, levels=LEVELS)[1])
    codes = torch.round(weight.float() / scale).clamp_(-128, 127).to(torch.int8)
    return QuantizedWeight(codes, scale, None, 8, -1, "int8")


def fake_quantize_tokens(inputs: Tensor) -> Tensor:
    """Quantize and dequantize activations [..., in] with one dynamic scale a token: absmax / 127.

    The kernels of vLLM divide by 127, not by the weights' 127.5.
    """
    codes, scale = quantize_int8(inputs.reshape(-1, inputs.shape[-1]), levels=127)
    return (codes.float() * scale).reshape(inputs.shape)


def fake_quantize_static(inputs: Tensor, scale: Tensor | float) -> Tensor:
    """Quantize and dequantize activations with a scale fixed in calibration; what exceeds it saturates."""
    return torch.round(inputs.float() / scale).clamp_(-128, 127) * scale
