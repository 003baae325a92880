"""The checkpoint folder around the tensors: configuration, tokenizer, recipe.json; whole or not at all."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from qcourse.common import QCourseError, atomic_folder, write_json
from qcourse.common.tensor_writer import Part, outlines, save_parts, size
from qcourse.recipe.record import Record, write_record

WEIGHTS = "model.safetensors"


def dense_tensors(model: nn.Module, quantized: set[str]) -> dict[str, Tensor]:
    """Return what a checkpoint stores as it is: all tensors but the weights of the quantized linears.

    quantized: full names of linears; their biases are kept, and so is everything
    else (embeddings, norms, head) in the model's dtype. A tied head is left out,
    as in any checkpoint with tie_word_embeddings. Raises QCourseError for experts that share a tensor.
    """
    kept: dict[str, Tensor] = {}
    seen: set[tuple[int, int]] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if name.endswith("experts.gate_up_proj"):
            raise QCourseError(
                f"{name} holds all experts of a layer; load the model with qcourse.models.load"
            )
        module = name.rpartition(".")[0]
        inside = any(module == layer or module.startswith(f"{layer}.") for layer in quantized)
        place = (tensor.data_ptr(), tensor.numel())
        if not inside and (place not in seen or tensor.numel() == 0):
            kept[name] = tensor.detach()
            seen.add(place)
    kept |= {f"{name}.bias": bias for name in quantized if (bias := _bias(model, name)) is not None}
    return kept


def _bias(model: nn.Module, name: str) -> Tensor | None:
    module = model.get_submodule(name)
    biases = [value for key, value in module.state_dict().items() if key.rpartition(".")[2] == "bias"]
    return biases[0] if biases else None


def write_folder(
    folder: Path | str,
    parts: list[Part],
    model: nn.Module,
    tokenizer: Any,
    quantization: dict[str, Any] | None,
    record: Record,
) -> Path:
    """Write a checkpoint folder that engines load and return its path.

    parts: functions that return the tensors a few at a time, the same at each call: only what one of them
    returns is in memory. quantization: the `quantization_config` of config.json, None for a dense model.
    tokenizer: None leaves the tokenizer out. Raises QCourseError when the disk
    has too little room or fills up; then nothing is left behind.
    """
    folder = Path(folder)
    found = outlines(parts)
    check_room(folder, sum(map(size, found.values())))
    try:
        with atomic_folder(folder) as temporary:
            save_parts(parts, found, temporary / WEIGHTS)
            write_config(temporary, model, quantization)
            if tokenizer is not None:
                tokenizer.save_pretrained(temporary)
            write_record(temporary, record)
    except Exception as error:
        raise disk_error(folder, error) from error
    return folder


def write_config(folder: Path, model: nn.Module, quantization: dict[str, Any] | None) -> None:
    """Write config.json of a model with this quantization_config, and its generation_config.json as it is."""
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    config["architectures"] = [type(model).__name__]
    config["dtype"] = str(model.dtype).removeprefix("torch.")
    if quantization is not None:
        config["quantization_config"] = quantization
    write_json(folder / "config.json", config)
    source = Path(getattr(model, "qcourse_folder", folder)) / "generation_config.json"
    if source.is_file():  # as its authors wrote it: transformers adds to it, and refuses some that it reads
        shutil.copyfile(source, folder / source.name)


def check_room(path: Path | str, needed: int) -> None:
    """Raise QCourseError if the disk of `path` has less than `needed` bytes (and 16 MiB) free."""
    free = shutil.disk_usage(writable_place(path)).free
    if free < needed + (16 << 20):
        raise QCourseError(
            f"{path} needs {needed / 1e6:,.0f} MB and the disk has {free / 1e6:,.0f} MB free; "
            "free some space or choose another folder"
        )


def writable_place(path: Path | str) -> Path:
    """Return the folder, there already, in which `path` would be made; QCourseError where it cannot be."""
    place = Path(path).absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK) or not os.statvfs(place).f_blocks:
        raise QCourseError(f"{path} cannot be written: {place} takes no files; choose another folder")
    return place


def disk_error(path: Path | str, error: Exception) -> Exception:
    """Return a QCourseError for a full disk, the error itself for anything else.

    The tokenizers library reports a full disk in the text of its own exception.
    """
    full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error).lower()
    if not full:
        return error
    return QCourseError(
        f"the disk filled up while writing {path}; nothing was kept: free some space or choose another folder"
    )
