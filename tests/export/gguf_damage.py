"""What a damaged GGUF is made of: a small file, where its lengths stand, and a guard against a hang."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest

SECONDS = 20  # a damaged file is refused within milliseconds; gguf-py alone would loop for days
BLOCK_COUNT, ARRAYS = "llama.block_count", ("UINT8", "INT16", "BOOL", "INT32", "FLOAT32", "UINT64", "FLOAT64")


@contextmanager
def no_hang() -> Iterator[None]:
    """Fail the test if the block runs on for SECONDS; pytest's Failed passes by every `except Exception`."""

    def stop(*_: object) -> None:
        pytest.fail(f"still reading after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def small_file(path: Path, padding: int = 0, big_endian: bool = False) -> Path:
    """Write a GGUF of one matrix with arrays of every item size; `padding` moves all that follows."""
    import gguf

    order = gguf.GGUFEndian.BIG if big_endian else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, "llama", endianess=order)
    writer.add_name("x" * (padding + 1))
    for kind in ARRAYS:
        item = gguf.GGUFValueType[kind]
        writer.add_key_value(f"array.{kind}", [1, 0, 1], gguf.GGUFValueType.ARRAY, sub_type=item)
    writer.add_token_list([f"t{number}" for number in range(4)])
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_tensor("blk.0.attn_q.weight", numpy.ones((8, 8), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def lengths(path: Path) -> dict[int, str]:
    """Return place -> what the 8 bytes there count, for every count and length that gguf-py found."""
    import gguf

    reader = gguf.GGUFReader(path)
    found = {8: "tensors", 16: "key-values"}
    for name, field in reader.fields.items():
        places = [field.offset + sum(int(part.nbytes) for part in field.parts[:i])
                  for i in range(len(field.parts))]  # fmt: skip
        if name.startswith("GGUF."):
            continue
        found[places[0]] = "key"
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            found[places[4]] = f"array of {field.types[-1].name}"
        if field.types[-1] == gguf.GGUFValueType.STRING:
            found |= dict.fromkeys((places[number - 1] for number in field.data), "text")
    return found | {tensor.field.offset: "name of a tensor" for tensor in reader.tensors}


def header_end(path: Path) -> int:
    """Return where the tensors' data begins."""
    import gguf

    return int(min(tensor.data_offset for tensor in gguf.GGUFReader(path).tensors))


def place_of(path: Path, key: str) -> int:
    """Return where the value of a number among the key-values stands."""
    import gguf

    field = gguf.GGUFReader(path).get_field(key)
    return field.offset + sum(int(part.nbytes) for part in field.parts[:-1])
