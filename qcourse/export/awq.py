"""AWQ "gemm" checkpoints: eight 4-bit outputs in a word, in the order 0 2 4 6 1 3 5 7.

For each linear: qweight int32 [in, out / 8], qzeros int32 [n_groups, out / 8],
scales fp16 [n_groups, out]; weight = (code - zero point) * scale.
Source: AutoAWQ's WQLinear_GEMM.
"""

from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.export.exact import exactly
from qcourse.export.settings import common_settings, kept_linears, require_kind, require_multiple
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.packing import pack_awq, unpack_awq

PARTS = ("qweight", "qzeros", "scales")


def check(layers: dict[str, QuantizedWeight]) -> None:
    """Raise QCourseError for the first layer that an AWQ gemm file cannot hold."""
    require_kind(layers, ("int",), "AWQ", "write it in the format of its method")
    common = common_settings(layers)
    for name, layer in layers.items():
        if layer.bits != 4:
            raise QCourseError(
                f"{name} has {layer.bits} bits, but AWQ gemm files hold 4; "
                "write it as compressed-tensors, which holds 2 to 8"
            )
        if name.endswith(".c_fc"):
            raise QCourseError(
                f"{name} stands before an activation without a gate, whose own scales (act.scales) AWQ files "
                "hold and this writer does not; write it as compressed-tensors, which has none"
            )
        if layer.group_size != common.group_size:
            raise QCourseError(
                f"{name} has group size {layer.group_size}, most layers {common.group_size}; "
                "AWQ files hold one for all: write it as compressed-tensors, which holds several"
            )
        if layer.g_idx is not None:
            raise QCourseError(
                f"{name} has reordered columns (g_idx), which AWQ files cannot hold; "
                "quantize without desc_act or write it as gptq"
            )
        require_multiple(name, "outputs", layer.codes.shape[0], 8, "AWQ")


def encode(layer: QuantizedWeight) -> dict[str, Tensor]:
    """Return the tensors of one linear."""
    return {
        "qweight": pack_awq(layer.codes),
        "qzeros": pack_awq(layer.zero_point),
        "scales": exactly(layer.scale, torch.float16, "scale").T.contiguous(),
    }


def decode(tensors: dict[str, Tensor], settings: dict[str, Any]) -> QuantizedWeight:
    """Return the layer that the tensors of one linear hold; settings: group_size (or q_group_size).

    Raises QCourseError for another layout than gemm and other widths than 4 bits.
    """
    version = str(settings.get("version") or settings.get("format") or "gemm").lower()
    bits = settings.get("bits", settings.get("w_bit", 4))
    if version != "gemm" or bits != 4:
        raise QCourseError(
            f"this AWQ checkpoint is laid out as {version!r} in {bits} bits; only gemm in 4 is read"
        )
    zero_point = unpack_awq(tensors["qzeros"]).to(torch.int32)
    return QuantizedWeight(
        codes=unpack_awq(tensors["qweight"]),
        scale=tensors["scales"].T.float().contiguous(),
        zero_point=zero_point,
        bits=4,
        group_size=settings.get("group_size", settings.get("q_group_size", 128)),
        symmetric=bool((zero_point == 8).all()),
    )


def configuration(layers: dict[str, QuantizedWeight], model: nn.Module) -> dict[str, Any]:
    """Return the quantization_config; a head needs no entry, other kept linears are listed."""
    kept = [name for name in kept_linears(model, set(layers)) if ".layers." in name]
    return {
        "quant_method": "awq",
        "bits": 4,
        "group_size": common_settings(layers).group_size,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": kept or None,
    }
