"""Safetensors files, read only after their header has been checked, written the same way every time."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from qcourse.common import QCourseError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The dtype names of the safetensors format that this package reads."""

HEADER_LIMIT = 100_000_000
"""Largest header in bytes that the format allows (safetensors, MAX_HEADER_SIZE)."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: its dtype, its shape, and its bytes [start, end) after the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path | str) -> dict[str, Entry]:
    """Return the tensors that a safetensors file declares, checked against the file's size.

    Checked: the header fits the file and is JSON, every dtype is known, every
    shape is a list of non-negative integers, every tensor takes exactly the
    bytes of its shape, and the tensors fill the file without gap or overlap.
    Raises QCourseError naming the file and the first fault.
    Source: the format's description in the safetensors repository.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            declared, data_size = _header_json(path, stream, size)
    except OSError as error:
        raise QCourseError(f"{path} cannot be read: {error.strerror or error}; check the path") from None
    declared.pop("__metadata__", None)
    entries = {name: _entry(path, name, value) for name, value in declared.items()}
    _check_layout(path, entries, data_size)
    return entries


def _damaged(path: Path, fault: str) -> QCourseError:
    return QCourseError(f"{path} is not a whole safetensors file: {fault}; download or write it again")


def _header_json(path: Path, stream, size: int) -> tuple[dict, int]:
    if size < 8:
        raise _damaged(path, f"{size} bytes are too few for its header")
    length = int.from_bytes(stream.read(8), "little")
    if length > min(size - 8, HEADER_LIMIT):
        raise _damaged(path, f"a header of {length:,} bytes cannot be in a file of {size:,}")
    try:
        declared = json.loads(stream.read(length).decode("utf-8"))
    except (ValueError, RecursionError):
        raise _damaged(path, "its header is not JSON") from None
    if not isinstance(declared, dict):
        raise _damaged(path, "its header is not a table of tensors")
    return declared, size - 8 - length


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _entry(path: Path, name: str, value: object) -> Entry:
    value = value if isinstance(value, dict) else {}
    dtype, shape, offsets = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _damaged(path, f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not isinstance(shape, list) or len(shape) > 8 or not all(_is_size(n) for n in shape):
        raise _damaged(path, f"tensor {name!r} has the impossible shape {str(shape)[:60]}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(n) for n in offsets):
        raise _damaged(path, f"tensor {name!r} has the impossible offsets {str(offsets)[:60]}")
    needed = DTYPES[dtype].itemsize
    for n in shape:
        needed *= n
    if offsets[1] - offsets[0] != needed:
        raise _damaged(path, f"tensor {name!r} takes {offsets[1] - offsets[0]:,} bytes but needs {needed:,}")
    return Entry(DTYPES[dtype], tuple(shape), *offsets)


def _check_layout(path: Path, entries: dict[str, Entry], data_size: int) -> None:
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != position:
            raise _damaged(path, f"tensor {name!r} starts at byte {entry.start:,}, not at {position:,}")
        position = entry.end
    if position != data_size:
        raise _damaged(path, f"its tensors take {position:,} bytes but {data_size:,} are there")


def load(path: Path | str) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file, on the CPU. Raises QCourseError if the file is damaged."""
    from safetensors.torch import load_file

    read_header(path)
    return load_file(str(path))


def load_folder(folder: Path | str) -> dict[str, Tensor]:
    """Return the tensors of every safetensors file in a checkpoint folder, all headers checked first.

    Raises QCourseError if there is no such file, if one is damaged, if a
    tensor stands in two of them, or if the index names one that is missing.
    """
    folder = Path(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise QCourseError(
            f"{folder} has no .safetensors file, the only weights that are read; convert others"
        )
    names: dict[str, Path] = {}
    for file in files:
        for name in read_header(file):
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


def save(tensors: dict[str, Tensor], path: Path | str) -> int:
    """Write tensors to a safetensors file and return its bytes; equal tensors give equal files."""
    from safetensors.torch import save_file

    ordered = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    save_file(ordered, str(path), metadata={"format": "pt"})
    return os.path.getsize(path)
