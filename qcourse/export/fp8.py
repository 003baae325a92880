"""FP8 checkpoints of DeepSeek's kind and vLLM's own: quant_method "fp8" (blocks or tensors) and "fbgemm_fp8".

For each linear: weight float8_e4m3fn [out, in] and weight_scale_inv [out / 128, in / 128] or weight_scale,
one number, [out] or [out, 1]; both are what codes are multiplied by, whatever the name says.
Source: transformers' FineGrainedFP8 and FbgemmFp8; vLLM's Fp8LinearMethod.
"""

from typing import Any

import torch
from torch import Tensor

from qcourse.numerics import QuantizedWeight

MARKERS = ("weight_scale_inv", "weight_scale")
PARTS = ("weight", *MARKERS, "input_scale", "input_scale_ub", "activation_scale")


def decode(tensors: dict[str, Tensor], settings: dict[str, Any]) -> QuantizedWeight:
    """Return the layer that the tensors of one linear hold; settings: weight_block_size, for blocks.

    Raises ValueError for another dtype, and for scales that do not fit the weight.
    """
    codes = tensors["weight"]
    if codes.dtype != torch.float8_e4m3fn:
        raise ValueError(f"its weight is {codes.dtype}, not float8_e4m3fn")
    if "weight_scale_inv" not in tensors:
        scale = tensors["weight_scale"].float().reshape(-1, 1)
        if len(scale) not in (1, len(codes)):
            raise ValueError(f"{len(scale)} scales do not fit {len(codes)} rows")
        return QuantizedWeight(codes, scale, None, 8, -1, "float8_e4m3fn")
    rows, columns = settings.get("weight_block_size") or (128, 128)
    scale, wanted = (
        tensors["weight_scale_inv"].float(),
        (-(-len(codes) // rows), -(-codes.shape[1] // columns)),
    )
    if tuple(scale.shape) != wanted:
        raise ValueError(f"scales {list(scale.shape)} are not one for {rows} x {columns} weights")
    return QuantizedWeight(codes, scale, None, 8, columns, "float8_e4m3fn", block_shape=(rows, columns))
