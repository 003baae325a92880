"""compressed-tensors files of other hands: columns of groups in any order, zero points of every kind."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from qcourse import export
from qcourse.common import QCourseError

NAME = "model.layers.0.mlp.up_proj"
ROWS, COLUMNS, SIZE = 6, 128, 32
GROUPS = COLUMNS // SIZE


def write(folder: Path, tensors: dict[str, Tensor], weights: dict, format: str, inputs=None) -> Path:
    """Write a folder of one linear with the config.json that llm-compressor would give it."""
    from safetensors.torch import save_file

    folder.mkdir()
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", **weights}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "format": format}
    config = {"quant_method": "compressed-tensors", "format": format, "config_groups": {"group_0": group}}
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    save_file({f"{NAME}.{part}": value for part, value in tensors.items()}, folder / "model.safetensors")
    return folder


def packed(numbers: np.ndarray) -> Tensor:
    """Pack signed 4-bit numbers [rows, columns], eight in a word, the first in the lowest bits."""
    words = np.zeros((numbers.shape[0], numbers.shape[1] // 8), dtype=np.uint64)
    for place in range(8):
        words |= (numbers[:, place::8] + 8).astype(np.uint64) << np.uint64(4 * place)
    return torch.from_numpy(words.astype(np.uint32).view(np.int32))


@pytest.fixture
def dice() -> np.random.Generator:
    return np.random.default_rng(5)


def four_bits(dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
    """Return numbers [rows, columns], scales [rows, groups] and the tensors of a symmetric layer."""
    numbers = dice.integers(-8, 8, (ROWS, COLUMNS))
    scale = 2.0 ** dice.integers(-9, -3, (ROWS, GROUPS))
    return numbers, scale, {
        "weight_packed": packed(numbers),
        "weight_scale": torch.from_numpy(scale).to(torch.bfloat16),
        "weight_shape": torch.tensor([ROWS, COLUMNS]),
    }  # fmt: skip


def shuffled(dice: np.random.Generator) -> np.ndarray:
    """Return the group of each column, SIZE columns a group, in no order."""
    return dice.permutation(np.repeat(np.arange(GROUPS), SIZE)).astype(np.int32)


def dense(numbers: np.ndarray, scale: np.ndarray, group: np.ndarray, zero=None) -> Tensor:
    """Return the weights, column by column: (number - zero point) * scale of the column's group."""
    columns = [
        (numbers[:, c] - (0 if zero is None else zero[:, group[c]])) * scale[:, group[c]]
        for c in range(numbers.shape[1])
    ]
    return torch.from_numpy(np.stack(columns, 1)).float()


def test_columns_belong_to_the_groups_that_the_file_says(dice, tmp_path):
    numbers, scale, tensors = four_bits(dice)
    group = shuffled(dice)
    tensors["weight_g_idx"] = torch.from_numpy(group)
    folder = write(tmp_path / "a", tensors, {"group_size": SIZE, "actorder": "group"}, "pack-quantized")
    assert torch.equal(export.read(folder)[f"{NAME}.weight"], dense(numbers, scale, group))
    assert export.read_layers(folder)[NAME].g_idx.tolist() == group.tolist()


def test_zero_points_follow_the_groups_of_columns(dice, tmp_path):
    numbers, scale, tensors = four_bits(dice)
    group, zero = shuffled(dice), dice.integers(-8, 8, (ROWS, GROUPS))
    padded = np.concatenate([zero, np.full((2, GROUPS), -8)])  # eight rows fill a word
    tensors |= {"weight_g_idx": torch.from_numpy(group), "weight_zero_point": packed(padded.T).T.contiguous()}
    weights = {"group_size": SIZE, "symmetric": False, "actorder": "group"}
    folder = write(tmp_path / "a", tensors, weights, "pack-quantized")
    assert torch.equal(export.read(folder)[f"{NAME}.weight"], dense(numbers, scale, group, zero))


@pytest.mark.parametrize("symmetric", [True, False])
def test_zero_points_that_are_not_packed_are_signed_numbers(dice, tmp_path, symmetric):
    numbers, scale, tensors = four_bits(dice)
    zero = dice.integers(-8, 8, (ROWS, GROUPS)).astype(np.int8)
    tensors["weight_zero_point"] = torch.from_numpy(zero)
    weights = {"group_size": SIZE, "symmetric": symmetric}
    folder = write(tmp_path / "a", tensors, weights, "pack-quantized")
    wanted = dense(numbers, scale, np.repeat(np.arange(GROUPS), SIZE), zero)
    assert torch.equal(export.read(folder)[f"{NAME}.weight"], wanted)
    assert not export.read_layers(folder)[NAME].symmetric


@pytest.mark.parametrize("index", ["in order", "not set"])
def test_a_trivial_group_index_is_none(dice, tmp_path, index):
    numbers, scale, tensors = four_bits(dice)
    order = np.repeat(np.arange(GROUPS), SIZE).astype(np.int32)
    tensors["weight_g_idx"] = torch.from_numpy(order if index == "in order" else np.full_like(order, -1))
    folder = write(tmp_path / "a", tensors, {"group_size": SIZE, "actorder": "group"}, "pack-quantized")
    assert torch.equal(export.read(folder)[f"{NAME}.weight"], dense(numbers, scale, order))
    assert export.read_layers(folder)[NAME].g_idx is None


DAMAGE = {
    "one column too many in a group": lambda group: np.where(np.arange(COLUMNS) == group.argmin(), 1, group),
    "a group that is not there": lambda group: np.where(group == 3, 2**30, group),
    "a negative group": lambda group: np.where(group == 3, -2, group),
    "too few columns": lambda group: group[:-1],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_group_index_that_does_not_fit_is_refused(dice, tmp_path, damage):
    _, _, tensors = four_bits(dice)
    tensors["weight_g_idx"] = torch.from_numpy(DAMAGE[damage](shuffled(dice)).astype(np.int32))
    folder = write(tmp_path / "a", tensors, {"group_size": SIZE, "actorder": "group"}, "pack-quantized")
    with pytest.raises(
        QCourseError, match="its weight_g_idx does not put 32 columns in each group; download"
    ):
        export.read(folder)


EIGHT = {"channel": (ROWS, 1), "tensor": (1,), "group": (ROWS, GROUPS)}


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize("strategy", EIGHT)
def test_int8_zero_points_are_applied(dice, tmp_path, strategy, reordered):
    shape = EIGHT[strategy]
    numbers = dice.integers(-128, 128, (ROWS, COLUMNS)).astype(np.int8)
    scale, zero = 2.0 ** dice.integers(-9, -3, shape), dice.integers(-128, 128, shape).astype(np.int8)
    zero.flat[0] = -128
    tensors = {
        "weight": torch.from_numpy(numbers),
        "weight_scale": torch.from_numpy(scale).float(),
        "weight_zero_point": torch.from_numpy(zero),
    }
    group = np.zeros(COLUMNS, dtype=np.int32)
    if strategy == "group":
        group = shuffled(dice) if reordered else np.repeat(np.arange(GROUPS), SIZE).astype(np.int32)
        tensors["weight_g_idx"] = torch.from_numpy(group)
    weights = {"num_bits": 8, "strategy": strategy, "symmetric": False, "group_size": SIZE}
    inputs = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}
    folder = write(tmp_path / "a", tensors, weights, "int-quantized", inputs)
    spread = [np.broadcast_to(value.reshape(-1, shape[-1]), (ROWS, shape[-1])) for value in (scale, zero)]
    wanted = dense(numbers.astype(np.int64), spread[0], group, spread[1].astype(np.int64))
    assert torch.equal(export.read(folder)[f"{NAME}.weight"], wanted)


def test_int8_without_an_offset_stays_int8(dice, tmp_path):
    numbers = dice.integers(-128, 128, (ROWS, COLUMNS)).astype(np.int8)
    tensors = {
        "weight": torch.from_numpy(numbers),
        "weight_scale": torch.full((ROWS, 1), 0.25),
        "weight_zero_point": torch.zeros(ROWS, 1, dtype=torch.int8),
    }
    inputs = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}
    weights = {"num_bits": 8, "strategy": "channel"}
    folder = write(tmp_path / "a", tensors, weights, "int-quantized", inputs)
    layer = export.read_layers(folder)[NAME]
    assert layer.kind == "int8" and layer.activations == "token"
    assert torch.equal(layer.dequantize(), torch.from_numpy(numbers).float() / 4)


def test_zero_points_of_fp8_are_refused(tmp_path):
    tensors = {
        "weight": torch.ones(ROWS, COLUMNS).to(torch.float8_e4m3fn),
        "weight_scale": torch.ones(ROWS, 1),
        "weight_zero_point": torch.zeros(ROWS, 1).to(torch.float8_e4m3fn),
    }
    weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
    folder = write(tmp_path / "zeros", tensors, weights, "float-quantized")
    assert export.read(folder)[f"{NAME}.weight"].eq(1).all()
    tensors["weight_zero_point"] = torch.ones(ROWS, 1).to(torch.float8_e4m3fn)
    folder = write(tmp_path / "ones", tensors, weights, "float-quantized")
    with pytest.raises(QCourseError, match="float8_e4m3fn codes have zero points, which only integers can"):
        export.read(folder)
