"""Calibrated scales of an FP8 KV cache inside a checkpoint: in compressed-tensors' form, which vLLM reads.

For each decoder layer self_attn.k_scale and v_scale, bf16 [1]: a key or value in the cache is code * scale.
Source: `kv_cache_scheme` of compressed-tensors 0.19; vLLM's CompressedTensorsKVCacheMethod.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError, atomic_folder, content_hash, record_path, tensor_writer, write_json
from qcourse.common.checkpoint_files import checkpoint_files
from qcourse.common.kv_names import Place, is_of_a_cache, place_of
from qcourse.export import tensor_file
from qcourse.export.compressed_scheme import arguments
from qcourse.export.exact import exactly
from qcourse.export.folder import check_room, disk_error
from qcourse.export.reader import quantization_config, read_json
from qcourse.numerics.kv import kv_scale

FILE, INDEX = "kv_scales.safetensors", "model.safetensors.index.json"
SCHEME = arguments(8, "float", "tensor") | {"observer": None}
DENSE = {
    "quant_method": "compressed-tensors",
    "format": "dense",
    "quantization_status": "compressed",
    "global_compression_ratio": None,
    "ignore": [],
    "config_groups": {},
}


def add_kv_scales(folder: Path | str, ranges: Sequence[Any], calibration_hash: str | None = None) -> Path:
    """Give a checkpoint folder the scales of an FP8 KV cache, one a layer for keys, one for values.

    folder: an unquantized checkpoint or a compressed-tensors one, replaced as a whole; scales that it has
    already are replaced. ranges: what `calibrate.kv_ranges` gives for its model; calibration_hash: of those
    tokens, for the record. Scales are absmax / 448, rounded to what bf16 and fp16 hold.
    Raises QCourseError for a checkpoint in another format, ranges of another model, and a full disk.
    """
    folder = Path(folder)
    settings, config = quantization_config(folder), read_json(folder / "config.json")
    if settings.get("quant_method", "compressed-tensors") != "compressed-tensors":
        raise QCourseError(
            f"{folder} is quantized as {settings['quant_method']}; KV scales stand in compressed-tensors or "
            "unquantized checkpoints only, so write the model as compressed-tensors"
        )
    if len(ranges) != (layers := config.get("num_hidden_layers")):
        raise QCourseError(
            f"{len(ranges)} ranges do not fit the {layers} layers of {folder}; calibrate this model"
        )
    config["quantization_config"] = (settings or DENSE) | {"kv_cache_scheme": SCHEME}
    try:
        _rewrite(folder, scale_tensors(ranges), config, calibration_hash)
    except Exception as error:
        raise disk_error(folder, error) from error
    return folder


def read_kv_scales(folder: Path | str) -> list[tuple[Tensor, Tensor]]:
    """Return each decoder layer's scales of keys and values, float32 [1] or [kv_heads]; [] without any.

    Under any name that engines know (`kv_names`). Raises QCourseError for a damaged folder, for a layer that
    has one of the two only or two for one thing, and for zero points.
    """
    found: dict[Place, Tensor] = {}
    for name, tensor in tensor_file.load_folder(folder).items():
        if name.endswith("zero_point") and is_of_a_cache(name) and bool(tensor.float().any()):
            raise QCourseError(f"{folder} holds {name}: caches with zero points are not read")
        for part in place.part if (place := place_of(name)) else "":
            value = found.setdefault(Place(place.layer, part), tensor.float().flatten())
            if not torch.equal(value, tensor.float().flatten()):
                raise QCourseError(f"{folder} holds {name} and another scale for the same; remove one")
    pairs = []
    for index in range(max((place.layer for place in found), default=-1) + 1):
        if missing := [part for part in "kv" if (index, part) not in found]:
            name = f"model.layers.{index}.self_attn.{missing[0]}_scale"
            raise QCourseError(f"{folder} holds KV scales but not {name}; write them again")
        pairs.append((found[Place(index, "k")], found[Place(index, "v")]))
    return pairs


def scale_tensors(ranges: Sequence[Any]) -> dict[str, Tensor]:
    """Return the tensors of the scales by name, bf16 [1]; ranges: anything with `key` and `value` absmax."""
    return {
        f"model.layers.{index}.self_attn.{part}_scale": exactly(
            kv_scale(absmax.max().reshape(1)), torch.bfloat16, "scale"
        )
        for index, layer in enumerate(ranges)
        for part, absmax in (("k", layer.key), ("v", layer.value))
    }


def _rewrite(folder: Path, scales: dict[str, Tensor], config: dict, calibration_hash: str | None) -> None:
    """Replace the folder by one with the scales; of several weight files none is written again."""
    files = [file.name for file in checkpoint_files(folder) if file.name != FILE]
    index = read_json(folder / INDEX) if (folder / INDEX).exists() else None
    target = FILE if index else (files or ["model.safetensors"])[0]
    kept = {} if index else tensor_file.load(folder / target)
    tensors = {name: value for name, value in kept.items() if not place_of(name)} | scales
    check_room(folder, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()))
    with atomic_folder(folder) as temporary:
        new = {target, "config.json", *([INDEX] if index else [])}
        shutil.copytree(folder, temporary, dirs_exist_ok=True, copy_function=_link,
                        ignore=lambda place, names: new if Path(place) == folder else [])  # fmt: skip
        tensor_writer.save(tensors, temporary / target)
        write_json(temporary / "config.json", config)
        if index:
            write_json(temporary / INDEX, _indexed(index, scales))
        if record_path(temporary).exists():
            note = {"dtype": "fp8", "granularity": "tensor", "calibration_hash": calibration_hash}
            values = read_json(record_path(temporary)) | {
                "kv_cache": note,
                "content": content_hash(temporary),
            }
            write_json(record_path(temporary), values)


def _indexed(index: dict[str, Any], scales: dict[str, Tensor]) -> dict[str, Any]:
    """Return the index with the scales; QCourseError if another file holds some, and two would then."""
    for name, file in index["weight_map"].items():
        if place_of(name) and file != FILE:
            raise QCourseError(f"{file} holds {name}; take a checkpoint without")
    return index | {"weight_map": index["weight_map"] | dict.fromkeys(scales, FILE)}


def _link(source: str, target: str) -> None:
    """Let a file stand in both folders, or copy it where the disk cannot; what changes is written anew."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)
