"""GPTQ checkpoints: eight 4-bit rows in a word, zero points minus one (v1) or as they are (v2).

For each linear: qweight int32 [in * bits / 32, out], qzeros int32
[n_groups, out * bits / 32], scales fp16 [n_groups, out], g_idx int32 [in].
Source: AutoGPTQ's QuantLinear (v1) and GPTQModel's BaseQuantLinear (v1 and v2).
"""

import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.export.exact import exactly, row_major
from qcourse.export.settings import common_settings, kept_linears, require_kind, require_multiple, settings_of
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.packing import pack_gptq, pack_gptq_zeros, unpack_gptq, unpack_gptq_zeros, unpack_words

BITS = (2, 3, 4, 8)
told: set[Path] = set()  # folders whose label was corrected already
VERSIONS = {"gptq": 1, "gptq_v2": 2}
PARTS = ("qweight", "qzeros", "scales", "g_idx")


def check(layers: dict[str, QuantizedWeight], version: int) -> None:
    """Raise QCourseError for the first layer that a GPTQ file of this version cannot hold."""
    require_kind(layers, ("int",), "GPTQ", "write it in the format of its method")
    for name, layer in layers.items():
        if layer.bits not in BITS:
            raise QCourseError(
                f"{name} has {layer.bits} bits, but GPTQ files hold {BITS}; "
                "write it as compressed-tensors, which holds 2 to 8"
            )
        together = 32 if layer.bits == 3 else 32 // layer.bits
        require_multiple(name, "outputs", layer.codes.shape[0], together, "GPTQ")
        require_multiple(name, "inputs", layer.codes.shape[1], together, "GPTQ")
        if version == 1 and bool((layer.zero_point == 0).any()):
            raise QCourseError(
                f"{name} has a zero point of 0, which a GPTQ v1 file (zero point minus one) "
                "cannot hold; write it as gptq_v2 or with symmetric scales"
            )


def encode(layer: QuantizedWeight, version: int = 1) -> dict[str, Tensor]:
    """Return the tensors of one linear; version 1 stores zero points minus one, 2 as they are."""
    columns = layer.codes.shape[1]
    size = columns if layer.group_size == -1 else layer.group_size
    g_idx = layer.g_idx if layer.g_idx is not None else torch.arange(columns) // size
    return {
        "qweight": pack_gptq(layer.codes, layer.bits),
        "qzeros": pack_gptq_zeros(row_major(layer.zero_point.T).T, layer.bits, version),
        "scales": exactly(layer.scale, torch.float16, "scale").T.contiguous(),
        "g_idx": g_idx.to(torch.int32, copy=True),  # linears that share an input share it in memory
    }


def label(settings: dict[str, Any]) -> int:
    """Return the version that a quantization_config says, 1 by default; QCourseError for another layout."""
    said = settings.get("checkpoint_format") or settings.get("format") or "gptq"
    said = "marlin" if settings.get("is_marlin_format") else said
    words = str(settings.get("pack_dtype") or "int32").removeprefix("torch.")
    if said not in VERSIONS or words != "int32":
        raise QCourseError(
            f"this GPTQ checkpoint is laid out as {said!r} in {words} words; read are "
            f"{' and '.join(VERSIONS)} in int32: take the checkpoint in one of them"
        )
    return VERSIONS[said]


def as_meant(folder: Path, settings: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the settings with the version that symmetric zero points show, which is said where it differs.

    The zero point of every symmetric layer is 2**(bits - 1): version 2 stores it, version 1 one less.
    """
    said, shown = label(settings), set()
    for name, zeros in tensors.items():
        if name.endswith(".qzeros"):
            own = settings_for(name.removesuffix(".qzeros"), settings)
            if own.get("bits") not in BITS or zeros.dtype != torch.int32 or not zeros.numel():
                return settings  # decoding says what is wrong
            low, high = unpack_words(zeros, own["bits"]).aminmax()
            middle = 2 ** (own["bits"] - 1)
            shown.add(int(low) - middle + 2 if own.get("sym", True) and low == high else None)
    if len(shown) != 1 or not shown <= {1, 2} or shown == {said}:
        return settings
    (version,) = shown
    if folder not in told:
        told.add(folder)
        print(f"{folder} says checkpoint_format {list(VERSIONS)[said - 1]!r}, but its symmetric zero points "
              f"are stored as version {version} does; they are read so", file=sys.stderr)  # fmt: skip
    return settings | {"checkpoint_format": list(VERSIONS)[version - 1]}


def decode_one(name: str, tensors: dict[str, Tensor], settings: dict[str, Any]) -> QuantizedWeight:
    """Return one linear, by the settings that `dynamic` gives its name."""
    return decode(tensors, settings_for(name, settings))


def decode(tensors: dict[str, Tensor], settings: dict[str, Any]) -> QuantizedWeight:
    """Return the layer that the tensors of one linear hold.

    settings: bits, group_size, sym, and checkpoint_format ("gptq" or "gptq_v2").
    """
    bits, version = settings["bits"], label(settings)
    codes = unpack_gptq(tensors["qweight"], bits)
    scale = tensors["scales"].T.float().contiguous()
    size = codes.shape[1] // scale.shape[1] if settings["group_size"] != -1 else codes.shape[1]
    g_idx = tensors.get("g_idx")
    if g_idx is not None and not 0 <= int(g_idx.min()) <= int(g_idx.max()) < scale.shape[1]:
        raise ValueError(f"its g_idx names groups that are not among its {scale.shape[1]}")
    contiguous = g_idx is None or torch.equal(g_idx.long(), torch.arange(codes.shape[1]) // size)
    return QuantizedWeight(
        codes=codes,
        scale=scale,
        zero_point=unpack_gptq_zeros(tensors["qzeros"], bits, version),
        bits=bits,
        group_size=settings["group_size"],
        symmetric=bool(settings.get("sym", True)),
        g_idx=None if contiguous else g_idx.to(torch.int32),
    )


def configuration(
    layers: dict[str, QuantizedWeight], model: nn.Module, version: int = 1, damping: float = 0.01
) -> dict[str, Any]:
    """Return the quantization_config; layers that differ from most others stand under `dynamic`."""
    common = common_settings(layers)
    return {
        "quant_method": "gptq",
        "bits": common.bits,
        "group_size": common.group_size,
        "desc_act": any(layer.g_idx is not None for layer in layers.values()),
        "sym": common.symmetric,
        "checkpoint_format": "gptq" if version == 1 else "gptq_v2",
        "lm_head": False,
        "true_sequential": True,
        "damp_percent": damping,
        "meta": {"quantizer": ["qcourse"]},
    } | _exceptions(layers, model)


def _exceptions(layers: dict[str, QuantizedWeight], model: nn.Module) -> dict[str, Any]:
    """Return GPTQModel's `dynamic` table and transformers' list of linears, where not all are alike.

    transformers (optimum 2.3) reads no `dynamic`: files of several widths are for GPTQModel and vLLM.
    """
    common = common_settings(layers)
    changed = {
        f"+:^{re.escape(name)}$": {"bits": layer.bits, "group_size": layer.group_size, "sym": layer.symmetric}
        for name, layer in layers.items()
        if settings_of(layer) != common
    }
    kept = [name for name in kept_linears(model, set(layers)) if ".layers." in name]
    if not changed and not kept:
        return {}
    kinds = sorted({name.split(".layers.")[1].partition(".")[2] for name in layers})
    return {
        "dynamic": changed | {f"-:^{re.escape(name)}$": {} for name in kept},
        "modules_in_block_to_quantize": [[kind] for kind in kinds],
    }


def settings_for(name: str, quantization: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of one linear: the quantization_config changed by its `dynamic` entry."""
    for pattern, changes in (quantization.get("dynamic") or {}).items():
        if not pattern.startswith("-:") and re.match(pattern.removeprefix("+:"), name):
            return {**quantization, **changes}
    return quantization
