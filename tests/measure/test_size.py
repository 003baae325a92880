"""Bits per weight from file headers, against arithmetic by hand."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse import measure
from qcourse.common import QCourseError
from tests import engines
from tests.export.gguf_damage import lengths, no_hang, small_file


def test_bf16_folder_has_sixteen_bits(small_folder, rounded):
    found = measure.bits_per_weight(small_folder)
    assert found.parameters == sum(p.numel() for p in rounded.model.parameters())
    assert found.bits_per_weight == 16 and found.bits_per_quantized_weight is None
    assert found.file_bytes == (small_folder / "model.safetensors").stat().st_size


def test_packed_linear_counts_codes_scales_and_zero_points(small_folder, tmp_path):
    folder = tmp_path / "packed"
    shutil.copytree(small_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.down_proj"
    rows, columns = tensors.pop(f"{name}.weight").shape
    tensors |= {
        f"{name}.qweight": torch.zeros(columns // 8, rows, dtype=torch.int32),
        f"{name}.qzeros": torch.zeros(columns // 128, rows // 8, dtype=torch.int32),
        f"{name}.scales": torch.zeros(columns // 128, rows, dtype=torch.float16),
        f"{name}.g_idx": torch.zeros(columns, dtype=torch.int32),
    }
    save_file(tensors, folder / "model.safetensors")
    found = measure.bits_per_weight(folder)
    assert found.bits_per_quantized_weight == pytest.approx(4 + (16 + 4) / 128 + 32 / rows)
    expected = 16 * (found.parameters - rows * columns) + found.bits_per_quantized_weight * rows * columns
    assert found.bits_per_weight == pytest.approx(expected / found.parameters)


def test_layers_in_memory_give_the_same_bits(rounded):
    class Layer:
        codes = torch.zeros(256, 512, dtype=torch.uint8)

        def bits_per_weight(self):
            return 4.25

    found = measure.memory_size(rounded.model, {"a": Layer(), "b": Layer()})
    share = 2 * 256 * 512 / found.parameters
    assert found.bits_per_quantized_weight == 4.25
    assert found.bits_per_weight == pytest.approx(16 - share * (16 - 4.25))


def test_gguf_counts_block_bytes(tmp_path):
    engines.require("gguf")
    import gguf

    file = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    q8 = gguf.GGMLQuantizationType.Q8_0
    matrix = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    writer.add_tensor("blk.0.attn_q.weight", gguf.quants.quantize(matrix, q8), raw_dtype=q8)
    writer.add_tensor("token_embd.weight", matrix.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = measure.bits_per_weight(file)
    assert found.bits_per_quantized_weight == 8.5
    assert found.bits_per_weight == (8.5 + 16) / 2


@pytest.mark.parametrize(
    "damage", [b"", b"\xff" * 7, (1 << 60).to_bytes(8, "little"), b"\x08" + b"\0" * 7 + b"not json"]
)
def test_damaged_header_is_one_sentence(small_folder, tmp_path, damage):
    (tmp_path / "config.json").write_text((small_folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(damage)
    with pytest.raises(QCourseError, match="is damaged"):
        measure.bits_per_weight(tmp_path)


def test_folder_without_weights(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(QCourseError, match="holds no .safetensors"):
        measure.bits_per_weight(tmp_path)


def test_damaged_gguf(tmp_path):
    engines.require("gguf")
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 12)
    with pytest.raises(QCourseError, match="x.gguf is damaged: its version 0 is unknown"):
        measure.bits_per_weight(file)
    small_file(file)
    place = next(at for at, what in lengths(file).items() if what == "array of UINT8")
    data = bytearray(file.read_bytes())
    data[place : place + 8] = (2**40).to_bytes(8, "little")
    file.write_bytes(data)
    with no_hang(), pytest.raises(QCourseError, match="x.gguf is damaged"):
        measure.bits_per_weight(file)
