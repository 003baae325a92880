"""What a safetensors file declares, checked against the file before anything of it is read."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qcourse.common.config import strict_json
from qcourse.common.errors import QCourseError

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E4M3FNUZ": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""The dtype names of the safetensors format -> bytes of one value."""

HEADER_LIMIT = 100_000_000
"""Largest header in bytes that the format allows (safetensors, MAX_HEADER_SIZE)."""


@dataclass(frozen=True)
class Entry:
    """One tensor: its dtype by the format's name, its shape, and its bytes [start, end) in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path | str) -> dict[str, Entry]:
    """Return the tensors that a safetensors file declares.

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
            declared, start = header_json(path, stream, size)
    except OSError as error:
        raise QCourseError(f"{path} cannot be read: {error.strerror or error}; check the path") from None
    declared.pop("__metadata__", None)
    entries = {name: checked_entry(path, name, value, start) for name, value in declared.items()}
    check_layout(path, entries, start, size)
    return entries


def damaged(path: Path, fault: str) -> QCourseError:
    """Return the error of a file that is not what its header says."""
    return QCourseError(f"{path} is damaged: {fault}; download or write it again")


def header_json(path: Path, stream: BinaryIO, size: int) -> tuple[dict, int]:
    """Return a file's JSON header and the offset at which its data starts."""
    if size < 8:
        raise damaged(path, f"{size} bytes are too few for its header")
    length = int.from_bytes(stream.read(8), "little")
    if length > min(size - 8, HEADER_LIMIT):
        raise damaged(path, f"a header of {length:,} bytes cannot be in a file of {size:,}")
    try:
        declared = strict_json(stream.read(length).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header is not JSON ({error})") from None
    if not isinstance(declared, dict):
        raise damaged(path, "its header is not a table of tensors")
    return declared, 8 + length


def checked_entry(path: Path, name: str, value: object, data_start: int) -> Entry:
    """Return one tensor's entry, once its dtype, shape and byte range agree with each other."""
    value = value if isinstance(value, dict) else {}
    dtype, shape, offsets = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise damaged(path, f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not isinstance(shape, list) or len(shape) > 8 or not all(is_size(n) for n in shape):
        raise damaged(path, f"tensor {name!r} has the impossible shape {str(shape)[:60]}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(is_size(n) for n in offsets):
        raise damaged(path, f"tensor {name!r} has the impossible offsets {str(offsets)[:60]}")
    needed, taken = math.prod(shape) * ITEM_BYTES[dtype], offsets[1] - offsets[0]
    if taken != needed:
        raise damaged(path, f"tensor {name!r} takes {taken:,} bytes but needs {needed:,}")
    return Entry(dtype, tuple(shape), *(data_start + offset for offset in offsets))


def is_size(value: object) -> bool:
    """Say whether a value from JSON can be a length or an offset."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def check_layout(path: Path, entries: dict[str, Entry], position: int, size: int) -> None:
    """Raise QCourseError unless the tensors fill the file from `position` on, without gap or overlap."""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != position:
            raise damaged(path, f"tensor {name!r} starts at byte {entry.start:,}, not at {position:,}")
        position = entry.end
    if position != size:
        raise damaged(path, f"its tensors end at byte {position:,} of {size:,}")
