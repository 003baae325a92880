"""Writing a safetensors file larger than memory: a few tensors at a time, each to its place in the file.

The format: eight bytes of header length, a JSON header padded to eight bytes, and the tensors' bytes. Wide
dtypes come first, so that each tensor starts at a multiple of its element's size, as mapped reading asks.
Source: the format section of the safetensors README.
"""

import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from qcourse.common.errors import QCourseError

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
"""The dtype names of the safetensors format that this package reads and writes."""

NAMES = {dtype: name for name, dtype in DTYPES.items()}
Part = Callable[[], dict[str, Tensor]]
Outline = tuple[torch.dtype, tuple[int, ...]]


def save(tensors: dict[str, Tensor], path: Path | str) -> int:
    """Write tensors to a safetensors file and return its bytes; equal tensors give equal files."""
    part = [lambda: tensors]
    return save_parts(part, outlines(part), path)


def save_parts(parts: Iterable[Part], found: dict[str, Outline], path: Path | str) -> int:
    """Write a safetensors file of the tensors that `parts` give, one part in memory; return its bytes.

    parts: functions that return tensors by name, the same at each call; found: their `outlines`.
    """
    header, places = layout(found)
    start = 8 + len(header)
    with Path(path).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for part in parts:
            for name, tensor in part().items():
                file.seek(start + places[name])
                write_bytes(file, tensor)
        file.truncate(start + sum(map(size, found.values())))
    return Path(path).stat().st_size


def outlines(parts: Iterable[Part]) -> dict[str, Outline]:
    """Return dtype and shape of every tensor; QCourseError for a dtype that such files do not hold."""
    found: dict[str, Outline] = {}
    for part in parts:
        found |= {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in part().items()}
    for name, (dtype, _) in found.items():
        if dtype not in NAMES:
            raise QCourseError(f"{name} is {dtype}, which is not written; written are {', '.join(DTYPES)}")
    return found


def size(outline: Outline) -> int:
    """Return the bytes of a tensor of this dtype and shape."""
    dtype, shape = outline
    return dtype.itemsize * torch.Size(shape).numel()


def layout(found: dict[str, Outline]) -> tuple[bytes, dict[str, int]]:
    """Return the header's bytes, and where each tensor starts after it."""
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(found, key=lambda name: (-found[name][0].itemsize, name)):
        dtype, shape = found[name]
        start, end = end, end + size(found[name])
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    places = {name: entry["data_offsets"][0] for name, entry in header.items() if name in found}
    return text + b" " * (-len(text) % 8), places


def write_bytes(file: BinaryIO, tensor: Tensor) -> None:
    """Write a tensor's elements row by row where the file stands, little end first."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if flat.numel():
        file.write(flat.view(torch.uint8).numpy())
