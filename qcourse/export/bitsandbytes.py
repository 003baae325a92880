"""bitsandbytes checkpoints: NF4 and FP4 in blocks of the flattened weight, and int8 with one scale a row.

4 bits: weight uint8 [out * in / 2, 1] (first code in the high half), weight.absmax,
weight.quant_map, with double quantization weight.nested_absmax and
weight.nested_quant_map, and a JSON text of the settings as bytes. 8 bits:
weight int8 [out, in], SCB float32 [out] (absmax of the row), weight_format.
Source: QuantState.as_dict and Linear8bitLt._save_to_state_dict of bitsandbytes 0.50.
"""

import json
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.export.settings import common_settings, kept_linears, require_kind
from qcourse.numerics import NestedAbsmax, QuantizedWeight
from qcourse.numerics.code_books import code_book
from qcourse.numerics.codebook import NESTED_BLOCK, dynamic_map, unnest

KINDS = ("nf4", "fp4", "int8")
THRESHOLD = 6.0  # of LLM.int8()'s outliers, where a layer does not say
STATE = "weight.quant_state.bitsandbytes__"
PARTS = (
    "weight",
    "weight.absmax",
    "weight.quant_map",
    "weight.nested_absmax",
    "weight.nested_quant_map",
    f"{STATE}nf4",
    f"{STATE}fp4",
    "SCB",
    "weight_format",
)


def check(layers: dict[str, QuantizedWeight]) -> None:
    """Raise QCourseError for the first layer that bitsandbytes has no form for, and for mixed thresholds."""
    kind = common_settings(layers).kind
    kinds = (kind,) if kind in KINDS else KINDS
    require_kind(layers, kinds, "bitsandbytes", "write it as compressed-tensors, gptq or merged")
    found = {threshold(layer) for layer in layers.values()} if kind == "int8" else set()
    if len(found) > 1:
        raise QCourseError(
            f"the layers have outlier thresholds {', '.join(map(str, sorted(found)))}, but a bitsandbytes "
            "file has one for all; quantize them with the same threshold"
        )


def threshold(layer: QuantizedWeight) -> float:
    """Return the magnitude from which LLM.int8() keeps an input feature of this layer in 16 bits."""
    return THRESHOLD if layer.threshold is None else layer.threshold


def encode(layer: QuantizedWeight, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of one linear; dtype is what 4-bit weights are dequantized to."""
    return _encode_int8(layer) if layer.kind == "int8" else _encode_blocks(layer, dtype)


def _encode_int8(layer: QuantizedWeight) -> dict[str, Tensor]:
    return {
        "weight": layer.codes,
        "SCB": _row_maxima(layer.scale.float()).reshape(-1),
        "weight_format": torch.tensor(0, dtype=torch.uint8),
    }


def _row_maxima(scale: Tensor) -> Tensor:
    """Return absmax with absmax / 127 == scale: multiplying back may miss the float16 it was by one bit."""
    product = scale * 127
    half = product.half().float()
    return torch.where(half / 127 == scale, half, product)


def _encode_blocks(layer: QuantizedWeight, dtype: torch.dtype) -> dict[str, Tensor]:
    flat = layer.codes.reshape(-1)
    flat = nn.functional.pad(flat, (0, flat.numel() % 2))
    state = {
        "quant_type": layer.kind,
        "blocksize": layer.group_size,
        "dtype": str(dtype).removeprefix("torch."),
        "shape": list(layer.codes.shape),
    }
    tensors = {
        "weight": (flat[0::2] << 4 | flat[1::2]).reshape(-1, 1),
        "weight.quant_map": code_book(layer.kind),
        "weight.absmax": layer.scale.float().reshape(-1),
    }
    if (nested := layer.nested) is not None:
        tensors |= {
            "weight.absmax": nested.codes.reshape(-1),
            "weight.nested_absmax": nested.absmax.float().reshape(-1),
            "weight.nested_quant_map": dynamic_map().clone(),
        }
        state |= {
            "nested_blocksize": NESTED_BLOCK,
            "nested_dtype": "float32",
            "nested_offset": float(nested.offset),
        }
    tensors[f"{STATE}{layer.kind}"] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    return tensors


def decode(tensors: dict[str, Tensor], settings: dict[str, Any] | None = None) -> QuantizedWeight:
    """Return the layer that the tensors of one linear hold. Raises ValueError for another code book.

    settings: the quantization_config; it alone holds the outlier threshold of int8 layers.
    """
    if "SCB" in tensors:
        if int(tensors.get("weight_format", torch.tensor(0))) != 0:
            raise ValueError("its int8 rows are tiled for one kind of GPU; save the model again by rows")
        absmax = tensors["SCB"].float().reshape(-1, 1)
        stored = (settings or {}).get("llm_int8_threshold")
        return QuantizedWeight(
            tensors["weight"],
            absmax / 127,
            None,
            8,
            -1,
            "int8",
            scale_bits=32,
            threshold=None if stored is None else float(stored),
        )
    kind = "nf4" if f"{STATE}nf4" in tensors else "fp4"
    state = json.loads(bytes(tensors[STATE + kind].tolist()))
    if not torch.allclose(tensors["weight.quant_map"], code_book(kind), atol=1e-6):
        raise ValueError(f"its code book is not {kind}")
    rows, columns = state["shape"]
    packed = tensors["weight"].view(torch.uint8).reshape(-1)
    flat = torch.stack([packed >> 4, packed & 15], dim=1).reshape(-1)
    codes = flat[: rows * columns].reshape(rows, columns)
    nested = _nested(tensors, state)
    scale = tensors["weight.absmax"].float() if nested is None else unnest(nested)
    scale = scale.reshape(rows if columns % state["blocksize"] == 0 else 1, -1)
    scale_bits = 32 if nested is None else 8
    return QuantizedWeight(
        codes, scale, None, 4, state["blocksize"], kind, scale_bits=scale_bits, nested=nested
    )


def _nested(tensors: dict[str, Tensor], state: dict[str, Any]) -> NestedAbsmax | None:
    """Return the block maxima as double quantization stores them; None where they are plain floats."""
    if "nested_offset" not in state:
        return None
    if state["nested_blocksize"] != NESTED_BLOCK:
        raise ValueError(f"its nested blocks have {state['nested_blocksize']} values, not {NESTED_BLOCK}")
    if not torch.allclose(tensors["weight.nested_quant_map"].float(), dynamic_map(), atol=1e-6):
        raise ValueError("its nested code book is not bitsandbytes' dynamic map")
    absmax = tensors["weight.nested_absmax"].float()
    return NestedAbsmax(tensors["weight.absmax"], absmax, torch.tensor(state["nested_offset"]))


def configuration(layers: dict[str, QuantizedWeight], model: nn.Module) -> dict[str, Any]:
    """Return the quantization_config that transformers' BitsAndBytesConfig reads."""
    first = next(iter(layers.values()))
    kept = kept_linears(model, set(layers))
    eight = first.kind == "int8"
    return {
        "quant_method": "bitsandbytes",
        "load_in_8bit": eight,
        "load_in_4bit": not eight,
        "_load_in_8bit": eight,
        "_load_in_4bit": not eight,
        "llm_int8_threshold": threshold(first),
        "llm_int8_skip_modules": kept or None,
        "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False,
        "bnb_4bit_quant_type": "nf4" if eight else first.kind,
        "bnb_4bit_use_double_quant": first.nested is not None,
        "bnb_4bit_compute_dtype": str(model.dtype).removeprefix("torch."),
        "bnb_4bit_quant_storage": "uint8",
    }
