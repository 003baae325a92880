"""Checks of a model folder before anything of it is read: headers, sizes, offsets, no pickle."""

import json
import math
from pathlib import Path

from qcourse.common import QCourseError

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E4M3FNUZ": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
LARGEST_HEADER = 100_000_000


def check_checkpoint(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder after checking each header.

    Raises QCourseError when config.json or weights are missing, when the weights are
    pickles, when a shard named by the index is absent, or when a file is damaged.
    """
    if not (folder / "config.json").is_file():
        raise QCourseError(f"{folder} has no config.json; a model folder needs config.json and *.safetensors")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [path.name for path in folder.glob("*.bin")]
        why = f"only pickles ({', '.join(pickles[:2])}), which are never read" if pickles else "no weights"
        raise QCourseError(f"{folder} holds {why}; convert them to safetensors first")
    check_index(folder, {path.name for path in files})
    for path in files:
        check_safetensors(path)
    return files


def check_index(folder: Path, present: set[str]) -> None:
    """Raise QCourseError when model.safetensors.index.json names a shard that is not in `present`."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        wanted = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise QCourseError(
            f"{index} is not a readable index ({error}); download the checkpoint again"
        ) from error
    if missing := sorted(wanted - present):
        raise QCourseError(f"{folder} lacks the shard {missing[0]}; download the checkpoint again")


def check_safetensors(path: Path) -> dict[str, dict]:
    """Return a safetensors file's header after checking length, dtypes, shapes and offsets.

    Raises QCourseError, naming the file and the first thing that is wrong.
    Source: safetensors README, "Format" (8-byte length, JSON header, contiguous data).
    """
    header, start = read_header(path)
    available = path.stat().st_size - start
    for name, entry in header.items():
        if name != "__metadata__":
            check_entry(path, name, entry, available)
    header.pop("__metadata__", None)
    return header


def read_header(path: Path) -> tuple[dict, int]:
    """Return a safetensors file's JSON header and the offset at which its data starts."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER):
            raise QCourseError(
                f"{path} is damaged: its header claims {length} bytes of a file of {size}; download it again"
            )
        text = stream.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QCourseError(f"{path} is damaged: its header is not JSON; download it again") from error
    if not isinstance(header, dict):
        raise QCourseError(f"{path} is damaged: its header is not a JSON object; download it again")
    return header, 8 + length


def check_entry(path: Path, name: str, entry: dict, available: int) -> None:
    """Raise QCourseError unless one tensor's dtype, shape and byte range agree with the file."""
    try:
        shape, (begin, end) = [int(n) for n in entry["shape"]], entry["data_offsets"]
        expected = math.prod(shape) * ITEM_BYTES[entry["dtype"]]
        sound = min(shape, default=0) >= 0 and 0 <= begin <= end and end - begin == expected
    except (KeyError, TypeError, ValueError) as error:
        raise QCourseError(
            f"{path} is damaged: the entry of {name!r} is malformed; download it again"
        ) from error
    if not sound:
        raise QCourseError(
            f"{path} is damaged: {name!r} has offsets that do not match its shape; download it again"
        )
    if end > available:
        raise QCourseError(
            f"{path} is truncated: {name!r} ends at byte {end} of {available}; download it again"
        )
