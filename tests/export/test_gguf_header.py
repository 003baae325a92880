"""A GGUF header whose counts and lengths lie is refused before gguf-py loops over them."""

import re
import struct

import pytest

from qcourse import export
from qcourse.common import QCourseError
from qcourse.common.gguf_header import check_gguf_header
from tests.engines import require
from tests.export.gguf_damage import (
    ARRAYS,
    BLOCK_COUNT,
    header_end,
    lengths,
    no_hang,
    place_of,
    small_file,
)

ALIGNMENTS = range(8)


@pytest.fixture(autouse=True)
def gguf_py():
    require("gguf")


def changed(path, place, form, value):
    """Write the file with a number at a place replaced, beside it; return the new path."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, place, value)
    damaged = path.with_name("damaged.gguf")
    damaged.write_bytes(data)
    return damaged


def refusal(path):
    """Return the sentence with which the file is refused, without its path."""
    with no_hang(), pytest.raises(QCourseError) as refused:
        export.gguf.read(path)
    return str(refused.value).removeprefix(str(path))


@pytest.mark.parametrize("padding", ALIGNMENTS)
def test_every_giant_length_is_refused_at_every_alignment(tmp_path, padding):
    path = small_file(tmp_path / "good.gguf", padding)
    assert export.gguf.read(path).keys() == {"model.layers.0.self_attn.q_proj.weight"}
    found = lengths(path)
    kinds = set(found.values())
    assert kinds == {"tensors", "key-values", "key", "text", "name of a tensor", "array of STRING"} | {
        f"array of {kind}" for kind in ARRAYS
    }
    for place in found:
        for giant in (1 << 40, 1 << 63, (1 << 64) - 1):
            sentence = refusal(changed(path, place, "<Q", giant))
            after = 24 if place in (8, 16) else place + 8
            pattern = rf" is damaged: {giant} \D+ do not fit in the \d+ bytes after byte {after}; download .*"
            assert re.fullmatch(pattern, sentence), (found[place], sentence)


def test_array_ends_meet_the_file_s_end_at_every_alignment(tmp_path):
    """gguf-py loops where the bytes left are whole items: for items of 8 bytes, at one padding in eight."""
    left = set()
    for padding in ALIGNMENTS:
        path = small_file(tmp_path / f"{padding}.gguf", padding)
        left |= {(kind, (path.stat().st_size - place) % 8) for place, kind in lengths(path).items()}
    assert {("array of UINT64", rest) for rest in range(8)} <= left


def test_every_beginning_of_a_header_is_refused(tmp_path):
    path = small_file(tmp_path / "good.gguf")
    whole, cut = path.read_bytes(), tmp_path / "cut.gguf"
    for size in range(header_end(path) - 32):
        cut.write_bytes(whole[:size])
        assert refusal(cut).startswith(" is damaged: " if size >= 4 else " is not a GGUF file")


@pytest.mark.parametrize("value", [0, 0x7F, 0xFF])
def test_any_byte_of_a_header_may_be_wrong(tmp_path, value):
    path, refused = small_file(tmp_path / "good.gguf"), 0
    for place in range(header_end(path)):
        damaged = changed(path, place, "B", value)
        with no_hang():
            try:
                export.gguf.read(damaged)
            except QCourseError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize(("place", "value", "words"), [
    (4, 1, "its version 1 is unknown, known are 2 and 3"), (4, 9, "its version 9 is unknown"),
    (8, 1000, "1000 tensors do not fit"), (16, 1000, "1000 key-values do not fit"),
    ("type", 13, "value type 13 at byte [0-9]+ is unknown, known are 0 to 12"),
    ("items", 13, "value type 13 at byte"), ("dimensions", 5, "has 5 dimensions, the most are 4"),
    ("dimensions", (1 << 32) - 1, "has 4294967295 dimensions"),
    ("layers", (1 << 32) - 1, "names 4294967295 layers and has 1 tensors"),
    ("type of a tensor", 99, "holds tensors of type 99, which gguf [0-9.]+ does not know"),
    ("type of a tensor", 24, "blk.0.attn_q.weight is stored as I8, which gguf-py cannot read"),
])  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, place, value, words):
    path = small_file(tmp_path / "good.gguf")
    by_kind = {kind: number for number, kind in lengths(path).items()}
    places = {
        "type": place_of(path, BLOCK_COUNT) - 4,
        "items": by_kind["array of INT32"] - 4,
        "dimensions": by_kind["name of a tensor"] + 8 + len("blk.0.attn_q.weight"),
        "layers": place_of(path, BLOCK_COUNT),
        "type of a tensor": by_kind["name of a tensor"] + 8 + len("blk.0.attn_q.weight") + 4 + 2 * 8,
    }
    with no_hang(), pytest.raises(QCourseError, match=words):
        export.gguf.read(changed(path, places.get(place, place), "<I", value))


@pytest.mark.parametrize(("depth", "sound"), [(1, True), (4, True), (5, False), (1000, False)])
def test_arrays_in_arrays_are_followed_to_a_depth_of_four(tmp_path, depth, sound):
    path = tmp_path / "nested.gguf"
    nested = struct.pack("<IQ", 9, 1) * (depth - 1) + struct.pack("<IQ", 0, 3) + b"abc"
    pair = struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + nested
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)
    if sound:
        check_gguf_header(path)
        assert export.gguf.tensor_types(path) == {}
    else:
        assert "more than 4 deep in each other" in refusal(path)


def test_the_other_byte_order_is_refused_by_name(tmp_path):
    """gguf-py turns the bytes of numbers, not those inside blocks or of bf16."""
    path = small_file(tmp_path / "big.gguf", big_endian=True)
    assert "is a big-endian GGUF file" in refusal(path)
    with pytest.raises(QCourseError, match="is a big-endian GGUF file"):
        export.gguf.tensor_types(path)
