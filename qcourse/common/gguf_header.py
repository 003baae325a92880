"""A GGUF file's header walked before gguf-py reads it, which loops as often as a damaged length says."""

import mmap
import struct
from pathlib import Path

from qcourse.common.errors import QCourseError

MAGIC, VERSIONS = b"GGUF", (2, 3)
BIG_ENDIAN = tuple(version.to_bytes(4, "big") for version in VERSIONS)
STRING, ARRAY = 8, 9
LEAST = (1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8)
"""Fewest bytes of a value by its type: a string is a length and text, an array item type, length, items."""
LEAST_PAIR, LEAST_TENSOR = 13, 24
MOST_DEPTH, MOST_DIMENSIONS = 4, 4


def check_gguf_header(path: Path | str) -> set[int]:
    """Return the numbers of the tensors' types, of ggml's list.

    Raises QCourseError unless the file is GGUF and its header's counts and lengths fit in its bytes.

    Source: docs/gguf.md of ggml, versions 2 and 3. A big-endian file is refused: llama.cpp here cannot run
    it, and gguf-py does not turn the bytes of blocks and of bf16.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            if stream.read(4) != MAGIC:
                raise QCourseError(f"{path} is not a GGUF file; check the path")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if data[4:8] in BIG_ENDIAN:
                    raise QCourseError(f"{path} is a big-endian GGUF file, which this machine cannot "
                                       "run; take the little-endian one")  # fmt: skip
                return walk(Header(data))
    except OSError as error:
        raise QCourseError(f"{path} cannot be read: {error.strerror or error}; check the path") from None
    except QCourseError:
        raise
    except ValueError as error:
        raise QCourseError(f"{path} is damaged: {error}; download or write it again") from None


class Header:
    """A place in the bytes of a header; every step forward is checked against what is left."""

    def __init__(self, data: mmap.mmap) -> None:
        """Start behind the magic."""
        self.data, self.place, self.tensor_types = data, len(MAGIC), set[int]()

    def number(self, kind: str) -> int:
        """Read an unsigned number, "I" of 4 bytes or "Q" of 8."""
        try:
            (value,) = struct.unpack_from(f"<{kind}", self.data, self.place)
        except struct.error:
            raise ValueError(f"it ends within its header, at byte {len(self.data)}") from None
        self.place += struct.calcsize(kind)
        return value

    def room(self, count: int, size: int, what: str) -> None:
        """Raise ValueError unless `count` items of at least `size` bytes are left."""
        left = len(self.data) - self.place
        if count * size > left:
            raise ValueError(f"{count} {what} do not fit in the {left} bytes after byte {self.place}")

    def step(self, count: int, size: int, what: str) -> None:
        """Step over `count` items of `size` bytes."""
        self.room(count, size, what)
        self.place += count * size

    def text(self) -> None:
        """Step over a string."""
        self.step(self.number("Q"), 1, "bytes of text")

    def least(self, kind: int) -> int:
        """Return the fewest bytes of a value of a type; ValueError for a type unknown."""
        if kind >= len(LEAST):
            raise ValueError(
                f"value type {kind} at byte {self.place} is unknown, known are 0 to {len(LEAST) - 1}"
            )
        return LEAST[kind]

    def value(self, kind: int, depth: int = 0) -> None:
        """Step over a value of a type."""
        least = self.least(kind)
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            self.array(depth + 1)
        else:
            self.step(1, least, "values")

    def array(self, depth: int) -> None:
        """Step over an array: item type, length, items, which may be arrays again."""
        if depth > MOST_DEPTH:
            raise ValueError(f"arrays at byte {self.place} lie more than {MOST_DEPTH} deep in each other")
        kind, length = self.number("I"), self.number("Q")
        if kind not in (STRING, ARRAY):
            self.step(length, self.least(kind), "array items")
            return
        self.room(length, self.least(kind), "array items")
        for _ in range(length):
            self.value(kind, depth)


def walk(header: Header) -> set[int]:
    """Step over a whole header to the tensors' data, and return their types; ValueError beyond the file."""
    version = header.number("I")
    if version not in VERSIONS:
        raise ValueError(f"its version {version} is unknown, known are {VERSIONS[0]} and {VERSIONS[1]}")
    tensors, pairs = header.number("Q"), header.number("Q")
    header.room(pairs, LEAST_PAIR, "key-values")
    header.room(tensors, LEAST_TENSOR, "tensors")
    for _ in range(pairs):
        header.text()
        header.value(header.number("I"))
    for _ in range(tensors):
        header.text()
        dimensions = header.number("I")
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {dimensions} dimensions, the most are {MOST_DIMENSIONS}")
        header.step(8 * dimensions, 1, "bytes of a tensor's shape")
        header.tensor_types.add(header.number("I"))
        header.step(8, 1, "bytes of a tensor's place")
    return header.tensor_types
