"""Reading checkpoints: ours, and those of GPTQModel, AutoGPTQ, AutoAWQ, AutoRound and llm-compressor."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from qcourse.common import QCourseError
from qcourse.common.config import strict_json
from qcourse.common.kv_names import is_of_a_cache
from qcourse.common.mixtures import misreads_experts
from qcourse.export import auto_round, awq, bitsandbytes, compressed_read, fp8, gptq, tensor_file
from qcourse.numerics import QuantizedWeight

Decoder = Callable[[str, dict[str, Tensor], dict[str, Any]], QuantizedWeight]
NO_WEIGHT = re.compile(
    r"(^|[._])(scale|scales|scale_inv|zero|zeros|zero_point|absmax|amax|qweight|qzeros|g_idx|bitmask"
    r"|packed|compressed|shape|quant_map|SCB|input_scale_ub)(_\d+)?$"
)
"""Ends of names that belong to some way of quantizing, and never to a dense model."""


def read(folder: Path | str) -> dict[str, Tensor]:
    """Return every weight of a checkpoint folder, dense and in float32, under the names of the dense model.

    Quantized linears are dequantized as their format defines it; scales of a KV cache
    are left out (`read_kv_scales` gives them). Raises QCourseError for a folder
    that is damaged, incomplete or in another format.
    """
    layers, dense = split(Path(folder))
    weights = {name: tensor.float() for name, tensor in dense.items() if tensor.is_floating_point()}
    return weights | {f"{name}.weight": layer.dequantize() for name, layer in layers.items()}


def read_layers(folder: Path | str) -> dict[str, QuantizedWeight]:
    """Return the quantized linears of a checkpoint folder; none for a dense one. Raises as `read` does."""
    return split(Path(folder))[0]


def misread_by_transformers(folder: Path | str) -> bool:
    """Say whether transformers loads a quantized folder wrongly that is read rightly here.

    Of GPTQ it knows no `dynamic` (layers left dense or of other widths are drawn at random, or fail), takes
    the label's word for how zero points are stored, and does not look into AutoGPTQ's quantize_config.json.
    AutoRound's files it gives to a library that computes in float16, and need not be there.
    Of quantized experts see `misreads_experts`. Raises QCourseError for a layout that is not read.
    """
    settings, config = quantization_config(folder), read_json(Path(folder) / "config.json")
    said = config.get("quantization_config") or {}
    if misreads_experts(config.get("model_type"), settings) or said.get("quant_method") == "auto-round":
        return True
    if settings.get("quant_method") != "gptq":
        return False
    meant = gptq.as_meant(Path(folder), settings, tensor_file.load_folder(folder))
    apart = not said
    return bool(settings.get("dynamic")) or meant != settings or apart


def quantization_config(folder: Path | str) -> dict[str, Any]:
    """Return the quantization_config of a checkpoint folder, {} for a dense one.

    It stands in config.json; AutoGPTQ also kept it in quantize_config.json. AutoRound's is given as the
    layout's that it packs by.
    Raises QCourseError if config.json is missing or is not JSON.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    found = config.get("quantization_config")
    if found is None and (folder / "quantize_config.json").exists():
        found = {"quant_method": "gptq", **read_json(folder / "quantize_config.json")}
    if found is not None and not isinstance(found, dict):
        raise QCourseError(f"the quantization_config of {folder} is no table; write the checkpoint again")
    return auto_round.as_packed(found) if found and found.get("quant_method") == "auto-round" else found or {}


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a checkpoint folder; QCourseError if there is none."""
    try:
        value = strict_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise QCourseError(f"{path.parent} has no {path.name}; a checkpoint folder needs it") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise QCourseError(f"{path} is not a JSON object; download or write the checkpoint again")
    return value


def split(folder: Path) -> tuple[dict[str, QuantizedWeight], dict[str, Tensor]]:
    """Return the quantized linears of a folder, and its other tensors as stored. Raises as `read` does."""
    settings = quantization_config(folder)
    method = settings.get("quant_method")
    if settings and (not isinstance(method, str) or method not in METHODS):
        raise QCourseError(f"{folder} is quantized as {method!r}; only {', '.join(METHODS)} are read")
    tensors = {name: tensor for name, tensor in tensor_file.load_folder(folder).items()
               if not is_of_a_cache(name)}  # fmt: skip
    if not settings:
        _check_dense(folder, tensors)
        return {}, tensors
    settings = gptq.as_meant(folder, settings, tensors) if method == "gptq" else settings
    marker, parts, decoder = METHODS[method]
    names = dict.fromkeys(name.removesuffix(f".{end}") for end in marker for name in tensors
                          if name.endswith(f".{end}"))  # fmt: skip
    layers = {}
    for name in names:
        own = {part: tensors.pop(f"{name}.{part}") for part in parts if f"{name}.{part}" in tensors}
        layers[name] = _decoded(folder, name, own, decoder, settings)
    if orphan := _no_weight(tensors):
        raise QCourseError(
            f"{folder} has {orphan} but not the rest of that layer; download the checkpoint again"
        )
    return layers, tensors


def _check_dense(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Raise QCourseError if a checkpoint that says nothing of quantization is quantized all the same."""
    if strange := _no_weight(tensors):
        raise QCourseError(
            f"{folder} holds {strange} ({str(tensors[strange].dtype).removeprefix('torch.')}), which no "
            "unquantized model has; its quantization_config is missing from config.json"
        )


def _no_weight(tensors: dict[str, Tensor]) -> str | None:
    """Return the name of the first tensor that is no weight of a dense model, if there is one."""
    return next((name for name, tensor in tensors.items() if NO_WEIGHT.search(name)
                 or not (tensor.element_size() > 1 and tensor.is_floating_point())
                 and not name.endswith("position_ids")), None)  # fmt: skip


def _decoded(
    folder: Path, name: str, own: dict[str, Tensor], decoder: Decoder, settings: dict[str, Any]
) -> QuantizedWeight:
    """Decode one linear; parts that are missing or do not fit together give a QCourseError naming it."""
    try:
        layer = decoder(name, own, settings)
        groups, size = layer.scale.shape[-1], layer.group_size
        if (
            layer.kind == "int"
            and groups * (layer.codes.shape[1] if size == -1 else size) != layer.codes.shape[1]
        ):
            raise ValueError(f"{groups} groups of {size} do not make {layer.codes.shape[1]} columns")
        if layer.dequantize().shape != layer.codes.shape:
            raise ValueError("the scales do not fit the codes")
        return layer
    except QCourseError:
        raise
    except (LookupError, ValueError, TypeError, RuntimeError, AttributeError, ArithmeticError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).split("\n")[0][:120]
        raise QCourseError(
            f"{name} of {folder} cannot be decoded: {reason}; download or write the checkpoint again"
        ) from error


def _named(decode: Callable) -> Decoder:
    """Return a decoder that does not ask for the name of its linear."""
    return lambda name, own, settings: decode(own, settings)


METHODS = {
    "gptq": (("qweight",), gptq.PARTS, gptq.decode_one),
    "awq": (("qweight",), awq.PARTS, _named(awq.decode)),
    "compressed-tensors": (("weight_scale",), compressed_read.PARTS, compressed_read.decode_one),
    "bitsandbytes": (("weight.absmax", "SCB"), bitsandbytes.PARTS, _named(bitsandbytes.decode)),
    "fp8": (fp8.MARKERS, fp8.PARTS, _named(fp8.decode)),
    "fbgemm_fp8": (fp8.MARKERS, fp8.PARTS, _named(fp8.decode)),
}
"""quant_method of config.json: the endings that mark a quantized linear, its tensors, and their decoder."""
