"""compressed-tensors checkpoints: packed integers, int8, FP8 and FP4, each with its scheme in config.json.

For each linear: weight_packed or weight, weight_scale [out, n_groups], and by
scheme weight_zero_point, weight_shape, weight_global_scale, input_scale.
Source: the compressors of compressed-tensors 0.19 (pack, naive, nvfp4, mxfp4).
"""

from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.export.compressed_scheme import Scheme, scheme
from qcourse.export.exact import exactly, is_exact, row_major, smallest_exact
from qcourse.export.settings import kept_linears, require_kind
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.fp4 import pack_fp4
from qcourse.numerics.packing import pack_words

KINDS = ("int", "int8", "float8_e4m3fn", "mxfp4", "nvfp4")


def check(layers: dict[str, QuantizedWeight]) -> None:
    """Raise QCourseError for the first layer that compressed-tensors cannot hold."""
    require_kind(layers, KINDS, "compressed-tensors", "write it as bitsandbytes or merged")
    for name, layer in layers.items():
        if layer.g_idx is not None:
            raise QCourseError(
                f"{name} has reordered columns (g_idx), which compressed-tensors dropped; "
                "quantize without desc_act or write it as gptq"
            )


def encode(layer: QuantizedWeight) -> dict[str, Tensor]:
    """Return the tensors of one linear."""
    kind_encoder = {"int": _encode_packed, "mxfp4": _encode_fp4, "nvfp4": _encode_fp4}
    tensors = kind_encoder.get(layer.kind, _encode_plain)(layer)
    if layer.input_scale is not None:
        tensors["input_scale"] = torch.as_tensor(layer.input_scale, dtype=torch.float32).reshape(1)
    return tensors


def _encode_packed(layer: QuantizedWeight) -> dict[str, Tensor]:
    dtype = torch.bfloat16 if is_exact(layer.scale, torch.bfloat16) else torch.float16
    tensors = {
        "weight_packed": pack_words(layer.codes, layer.bits),
        "weight_scale": exactly(layer.scale, dtype, "scale"),
        "weight_shape": torch.tensor(layer.codes.shape, dtype=torch.int64),
    }
    if not layer.symmetric:
        packed = pack_words(row_major(layer.zero_point.T), layer.bits)
        tensors["weight_zero_point"] = packed.T.contiguous()
    return tensors


def _encode_plain(layer: QuantizedWeight) -> dict[str, Tensor]:
    scale = smallest_exact(layer.scale)
    return {"weight": layer.codes, "weight_scale": scale.reshape(1) if scale.numel() == 1 else scale}


def _encode_fp4(layer: QuantizedWeight) -> dict[str, Tensor]:
    tensors = {"weight_packed": pack_fp4(layer.codes)}
    if layer.kind == "mxfp4":
        return tensors | {"weight_scale": (torch.log2(layer.scale) + 127).round().to(torch.uint8)}
    divisor = torch.as_tensor(layer.global_scale, dtype=torch.float32).reshape(1)
    return tensors | {"weight_scale": layer.scale.to(torch.float8_e4m3fn), "weight_global_scale": divisor}


def configuration(layers: dict[str, QuantizedWeight], model: nn.Module) -> dict[str, Any]:
    """Return the quantization_config: one group of layers for each scheme, the kept linears ignored."""
    groups: dict[Scheme, list[str]] = {}
    for name, layer in layers.items():
        groups.setdefault(scheme(layer), []).append(name)
    formats = {rules.format for rules in groups}
    alone = len(groups) == 1
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "ignore": kept_linears(model, set(layers)),
        "kv_cache_scheme": None,
        "config_groups": {
            f"group_{index}": rules.group(["Linear"] if alone else names)
            for index, (rules, names) in enumerate(groups.items())
        },
    }
