"""Reading one linear of a compressed-tensors checkpoint, as this package and llm-compressor write it.

Files of older versions with actorder "group" hold the group of each column, weight_g_idx.
Source: the compressors of compressed-tensors 0.19 (pack, naive, nvfp4, mxfp4); 0.17 for weight_g_idx.
"""

from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError
from qcourse.export.compressed_scheme import Scheme, group_of, parse
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.fp4 import unpack_fp4
from qcourse.numerics.packing import unpack_words

PARTS = (
    "weight_packed",
    "weight",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_global_scale",
    "input_scale",
    "input_global_scale",
    "weight_g_idx",
)


def decode_one(name: str, tensors: dict[str, Tensor], settings: dict[str, Any]) -> QuantizedWeight:
    """Return one linear under the group of the quantization_config that names it.

    Raises QCourseError for sparse layouts, rotations left to the engine, and names that no group has.
    """
    sparse = (settings.get("sparsity_config") or {}).get("format", "dense")
    if sparse != "dense" or settings.get("transform_config"):
        raise QCourseError(
            f"this checkpoint is compressed as {sparse!r}; sparse ones are not read"
            if sparse != "dense"
            else "this checkpoint has a transform_config, which engines apply as they run; it is not read"
        )
    entry = group_of(name, settings["config_groups"])
    return decode(tensors, parse({**entry, "format": entry.get("format") or settings.get("format")}))


def decode(tensors: dict[str, Tensor], rules: Scheme) -> QuantizedWeight:
    """Return the layer that the tensors of one linear hold, under the scheme that config.json gives it.

    An int8 layer with zero points comes back as kind "int" in 8 bits, which holds them.
    Raises ValueError for zero points of floats and for a weight_g_idx that does not fit the groups.
    """
    if rules.kind == "int" or (rules.kind == "int8" and "weight_packed" in tensors):
        layer = _decode_packed(tensors, rules)
    elif rules.kind in ("mxfp4", "nvfp4"):
        layer = _decode_fp4(tensors, rules)
    else:
        layer = _decode_plain(tensors, rules)
    layer.g_idx = _group_index(tensors.get("weight_g_idx"), layer)
    layer.activations = rules.activations
    if "input_scale" in tensors:
        layer.input_scale = tensors["input_scale"].float().reshape(())
    return layer


def _decode_packed(tensors: dict[str, Tensor], rules: Scheme) -> QuantizedWeight:
    rows, columns = (int(size) for size in tensors["weight_shape"])
    scale, middle = tensors["weight_scale"].float(), 2 ** (rules.bits - 1)
    scale = scale.reshape(-1, 1) if scale.dim() < 2 else scale
    stored = tensors.get("weight_zero_point") if rules.symmetric else tensors["weight_zero_point"]
    if stored is None:
        zero_point = torch.full(scale.shape, middle, dtype=torch.int32)
    elif stored.dtype == torch.int32:
        zero_point = unpack_words(stored.T.contiguous(), rules.bits, rows).T.to(torch.int32).contiguous()
    else:  # one a number, signed, as the oldest files have them
        zero_point = stored.to(torch.int32) + middle
    codes = unpack_words(tensors["weight_packed"], rules.bits, columns).contiguous()
    symmetric = rules.symmetric and bool((zero_point == middle).all())
    return QuantizedWeight(codes, scale, zero_point, rules.bits, rules.group_size, symmetric=symmetric)


def _decode_plain(tensors: dict[str, Tensor], rules: Scheme) -> QuantizedWeight:
    codes, stored = tensors["weight"], tensors["weight_scale"]
    scale = torch.exp2(stored.float() - 127) if stored.dtype == torch.uint8 else stored.float()
    scale = scale.reshape(-1, 1) if scale.dim() < 2 else scale
    if not rules.block and (len(scale), scale.shape[1]) != (1, 1) and len(scale) != len(codes):
        raise ValueError(f"scales {list(scale.shape)} do not fit {len(codes)} rows")
    zero_point = tensors.get("weight_zero_point")
    if zero_point is not None and bool(zero_point.float().any()):
        if rules.kind != "int8":
            raise ValueError(f"its {rules.kind} codes have zero points, which only integers can have")
        codes = (codes.to(torch.int16) + 128).to(torch.uint8)
        zero_point = zero_point.to(torch.int32).reshape(scale.shape) + 128
        return QuantizedWeight(codes, scale, zero_point, 8, rules.group_size, symmetric=False)
    layer = QuantizedWeight(codes, scale, None, 8, rules.group_size, rules.kind)
    if rules.block:
        layer.block_shape = tuple(rules.block)
    return layer


def _group_index(stored: Tensor | None, layer: QuantizedWeight) -> Tensor | None:
    """Return the group of each column, int32 [in]; None where groups are consecutive or not set (-1)."""
    if stored is None or bool((stored == -1).any()):
        return None
    columns, groups = layer.codes.shape[1], layer.scale.shape[1]
    index = stored.long()
    whole = index.shape == (columns,) and 0 <= int(index.min()) and int(index.max()) < groups
    if not whole or bool((torch.bincount(index, minlength=groups) != columns // groups).any()):
        raise ValueError(f"its weight_g_idx does not put {columns // groups} columns in each group")
    if torch.equal(index, torch.arange(columns) // (columns // groups)):
        return None
    if layer.kind in ("mxfp4", "nvfp4") or layer.block_shape:
        raise ValueError(f"a weight_g_idx is not read for {layer.kind} in blocks of neighbours")
    return index.to(torch.int32)


def _decode_fp4(tensors: dict[str, Tensor], rules: Scheme) -> QuantizedWeight:
    codes = unpack_fp4(tensors["weight_packed"])
    stored = tensors["weight_scale"]
    scale, divisor = stored.float(), None
    if rules.kind == "mxfp4":
        scale = torch.exp2(scale - 127)
    else:
        divisor = tensors["weight_global_scale"].float().reshape(())
    size = rules.group_size
    return QuantizedWeight(codes, scale, None, 4, size, rules.kind, scale_bits=8, global_scale=divisor)
