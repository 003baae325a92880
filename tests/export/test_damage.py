"""Two hundred damaged files: each is either read, where the damage is only in values, or refused in words."""

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qcourse import export
from qcourse.common import QCourseError, tensor_writer
from qcourse.common.tensor_header import read_header
from qcourse.export import tensor_file
from tests.export.conftest import KINDS


def split(data: bytes) -> tuple[dict, bytes]:
    """Return header and data of a safetensors file."""
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: object, data: bytes) -> bytes:
    """Return a safetensors file of this header and data."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(data: bytes, dice: random.Random, change: Callable[[dict, random.Random], None]) -> bytes:
    """Change the header's entry of one random tensor."""
    header, rest = split(data)
    name = dice.choice([name for name in header if name != "__metadata__"])
    change(header[name], dice)
    return join(header, rest)


def flip_header(data: bytes, dice: random.Random) -> bytes:
    """Replace one byte of the header's text."""
    length = struct.unpack("<Q", data[:8])[0]
    place = 8 + dice.randrange(length)
    return data[:place] + bytes([dice.randrange(256)]) + data[place + 1 :]


def set_key(key: str, value: object) -> Callable[[dict, random.Random], None]:
    return lambda item, dice: item.__setitem__(key, value)


def shift_offsets(item: dict, dice: random.Random) -> None:
    item["data_offsets"] = [offset + dice.choice([-8, 8, 1 << 40]) for offset in item["data_offsets"]]


HARMFUL: list[Callable[[bytes, random.Random], bytes]] = [
    lambda data, dice: data[: dice.randrange(len(data))],
    lambda data, dice: data + bytes(dice.randrange(1, 64)),
    lambda data, dice: bytes(dice.randrange(256) for _ in range(4096)),
    lambda data, dice: struct.pack("<Q", 1 << dice.randrange(28, 64)) + data[8:],
    lambda data, dice: struct.pack("<Q", dice.randrange(8)) + data[8:],
    lambda data, dice: entry(data, dice, shift_offsets),
    lambda data, dice: entry(data, dice, set_key("dtype", dice.choice(["F13", "", None, 7, ["F16"]]))),
    lambda data, dice: entry(data, dice, set_key("dtype", "F64")),
    lambda data, dice: entry(data, dice, set_key("shape", [dice.choice([-1, 2**62, 1.5, "4", None, True])])),
    lambda data, dice: entry(data, dice, set_key("shape", [[[]]])),
    lambda data, dice: entry(
        data, dice, set_key("data_offsets", dice.choice([[], [0], [5, 2], "0 1", None]))
    ),
    lambda data, dice: entry(data, dice, lambda item, _: item.clear()),
    lambda data, dice: join(["not", "a", "table"], split(data)[1]),
    lambda data, dice: join({name: 5 for name in split(data)[0]}, split(data)[1]),
    lambda data, dice: b"\x80\x04\x95" + data[3:],
    lambda data, dice: struct.pack("<Q", 20000) + b"[" * 20000 + data,
]
"""Damage that must always be refused."""


@pytest.fixture(scope="module")
def whole(small, layers_of, tmp_path_factory) -> dict[str, Path]:
    """One checkpoint of each format."""
    root = tmp_path_factory.mktemp("whole")
    model, _ = small("llama_gqa")
    kinds = ["gptq-w4g128", "awq-w4g128", "ct-w4g32-asym", "ct-fp8", "bnb-nf4", "bnb-int8"]
    return {
        kind: export.save(layers_of("llama_gqa", kind), model, None, root / kind, KINDS[kind][0])
        for kind in kinds
    }


def damaged(folder: Path, target: Path, damage: Callable[[bytes, random.Random], bytes], seed: int) -> Path:
    """Copy a checkpoint with its weights damaged."""
    target.mkdir()
    shutil.copy(folder / "config.json", target)
    data = (folder / "model.safetensors").read_bytes()
    (target / "model.safetensors").write_bytes(damage(data, random.Random(seed)))
    return target


@pytest.mark.parametrize("number", range(len(HARMFUL)))
def test_damaged_weights_are_refused(number, whole, tmp_path):
    for seed, (kind, folder) in enumerate(whole.items()):
        bad = damaged(folder, tmp_path / kind, HARMFUL[number], 100 * number + seed)
        with pytest.raises(QCourseError, match=r"; (download|write|check)"):
            export.read(bad)


def test_every_part_of_a_layer_is_missed(whole, tmp_path):
    name = "model.layers.1.mlp.up_proj."
    optional = ("g_idx", "quant_map", "weight_format")
    for kind, folder in whole.items():
        tensors = tensor_file.load_folder(folder)
        for part in [key for key in tensors if key.startswith(name) and not key.endswith(optional)]:
            bad = tmp_path / f"{kind}-{part.removeprefix(name)}"
            bad.mkdir()
            shutil.copy(folder / "config.json", bad)
            tensor_writer.save(
                {key: value for key, value in tensors.items() if key != part}, bad / "a.safetensors"
            )
            with pytest.raises(QCourseError, match="up_proj"):
                export.read(bad)


def test_a_flipped_byte_of_the_header_never_crashes(whole, tmp_path):
    refused = 0
    for seed in range(100):
        folder = list(whole.values())[seed % len(whole)]
        bad = damaged(folder, tmp_path / str(seed), flip_header, seed)
        try:
            export.read(bad)
        except QCourseError:
            refused += 1
    assert refused > 80


def test_a_giant_header_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "giant.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", 150_000_000))
        stream.truncate(160_000_000)
    with pytest.raises(QCourseError, match="150,000,000"):
        read_header(path)


def test_headers_of_whole_files_agree_with_the_library(whole):
    from safetensors import safe_open

    for folder in whole.values():
        path = folder / "model.safetensors"
        entries = read_header(path)
        with safe_open(path, "pt") as stream:
            assert set(entries) == set(stream.keys())
            for name in entries:
                tensor = stream.get_tensor(name)
                assert (tensor.dtype, tuple(tensor.shape)) == (
                    tensor_file.DTYPES[entries[name].dtype],
                    entries[name].shape,
                )


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('{"quantization_config": 5}', "no table"),
        ('{"quantization_config": {"quant_method": "aqlm"}}', "aqlm"),
        ('{"quantization_config": {"quant_method": ["gptq"]}}', "gptq"),
        ('{"quantization_config": {"quant_method": "gptq"}}', "cannot be decoded"),
        (
            '{"quantization_config": {"quant_method": "gptq", "bits": "4", "group_size": 128}}',
            "cannot be decoded",
        ),
        (
            '{"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128}}',
            "cannot be decoded",
        ),
        (
            '{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 0}}',
            "cannot be decoded",
        ),
        ('{"quantization_config": {"quant_method": "awq", "bits": 4, "version": "gemv"}}', "gemv"),
    ],
)
def test_bad_configuration_is_refused(text, words, whole, tmp_path):
    (tmp_path / "config.json").write_text(text)
    shutil.copy(whole["gptq-w4g128"] / "model.safetensors", tmp_path)
    with pytest.raises(QCourseError, match=words):
        export.read(tmp_path)


def test_missing_files_and_shards_are_named(whole, tmp_path):
    with pytest.raises(QCourseError, match="no config.json"):
        export.read(tmp_path)
    shutil.copy(whole["gptq-w4g128"] / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(QCourseError, match="no .safetensors file"):
        export.read(tmp_path)
    shutil.copy(whole["gptq-w4g128"] / "model.safetensors", tmp_path / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors", "gone": "missing"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(QCourseError, match="lacks the shard missing"):
        export.read(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(QCourseError, match="not a readable index"):
        export.read(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    for name in ("a", "b"):
        tensor_writer.save({"w": torch.ones(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(QCourseError, match="a.safetensors and in b.safetensors"):
        tensor_file.load_folder(tmp_path)
