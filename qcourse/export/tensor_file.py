"""Safetensors files, read only after their header has been checked."""

import json
from pathlib import Path

from torch import Tensor

from qcourse.common import QCourseError
from qcourse.common.checkpoint_files import checkpoint_files
from qcourse.common.tensor_header import Entry, read_header
from qcourse.common.tensor_writer import DTYPES


def checked(path: Path | str) -> dict[str, Entry]:
    """Return what a safetensors file declares. Raises QCourseError if it is damaged or has an odd dtype."""
    entries = read_header(path)
    for name, entry in entries.items():
        if entry.dtype not in DTYPES:
            raise QCourseError(f"{path} holds {name} as {entry.dtype}; read are {', '.join(DTYPES)}")
    return entries


def load(path: Path | str) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file, on the CPU. Raises QCourseError if the file is damaged."""
    from safetensors.torch import load_file

    checked(path)
    return load_file(str(path))


def load_folder(folder: Path | str) -> dict[str, Tensor]:
    """Return the tensors of every safetensors file in a checkpoint folder, all headers checked first.

    Raises QCourseError if there is no such file, if one is damaged, if a
    tensor stands in two of them, or if the index names one that is missing.
    """
    folder = Path(folder)
    files = checkpoint_files(folder)
    if not files:
        raise QCourseError(
            f"{folder} has no .safetensors file, the only weights that are read; convert others"
        )
    names: dict[str, Path] = {}
    for file in files:
        for name in checked(file):
            if name in names:
                raise QCourseError(
                    f"{name} is in {names[name].name} and in {file.name} of {folder}; remove one"
                )
            names[name] = file
    _check_index(folder, names)
    return {name: tensor for file in files for name, tensor in load(file).items()}


def _check_index(folder: Path, names: dict[str, Path]) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        missing = sorted(name for name in weight_map if name not in names)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise QCourseError(f"{index} is not a safetensors index; download the checkpoint again") from None
    if missing:
        raise QCourseError(
            f"{folder} lacks {len(missing)} tensors of its index, first {missing[0]}; "
            "download the missing shard"
        )
