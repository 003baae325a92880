"""KV scales added to a checkpoint: every other byte as before, read back, refused where no engine looks."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from qcourse import export
from qcourse.common import QCourseError, content_hash, tensor_writer
from qcourse.export import tensor_file
from qcourse.numerics.kv import kv_scale
from qcourse.recipe import Recipe
from tests.export.conftest import KINDS


@dataclass
class Range:
    """What the writer asks of a calibrated range: absmax of each KV head."""

    key: torch.Tensor
    value: torch.Tensor


RANGES = [
    Range(torch.tensor([3.0, 896.0]), torch.tensor([0.5, 0.25])),
    Range(torch.tensor([0.0, 0.0]), torch.tensor([44.8, 1.0])),
]
SCALES = [(2.0, 0.5 / 448), (1.0, 0.1)]
"""absmax / 448 of the larger head; 1 where nothing but zeros was seen."""


def folder_of(kind: str, small, layers_of, place: Path) -> Path:
    """Write the small model in a kind of KINDS, or unquantized."""
    model, tokenizer = small("llama_gqa")
    if kind == "dense":
        return export.save({}, model, tokenizer, place, "merged", Recipe("bf16", bits=16))
    return export.save(layers_of("llama_gqa", kind), model, tokenizer, place, KINDS[kind][0], Recipe("rtn"))


def in_two_files(folder: Path) -> Path:
    """Cut the weights of a folder in two files with an index, as large checkpoints come."""
    tensors = tensor_file.load_folder(folder)
    names, weight_map = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        tensor_writer.save({name: tensors[name].clone() for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("kind", ["dense", "ct-w4g128", "ct-w8a8", "ct-fp8-static"])
def test_scales_are_added_and_nothing_else_changes(kind, files, small, layers_of, tmp_path):
    folder = folder_of(kind, small, layers_of, tmp_path / "artefact")
    if files == 2:
        in_two_files(folder)
    tensors, weights, layers = (
        tensor_file.load_folder(folder),
        export.read(folder),
        export.read_layers(folder),
    )
    assert export.read_kv_scales(folder) == []
    assert export.add_kv_scales(folder, RANGES, "abc") == folder
    found = tensor_file.load_folder(folder)
    names = {f"model.layers.{layer}.self_attn.{part}_scale" for layer in (0, 1) for part in "kv"}
    assert found.keys() - tensors.keys() == names and tensors.keys() <= found.keys()
    assert all(torch.equal(found[name].float(), tensors[name].float()) for name in tensors)
    assert all(found[name].dtype == torch.bfloat16 and found[name].shape == (1,) for name in names)
    again = export.read(folder)
    assert again.keys() == weights.keys() and all(torch.equal(again[name], weights[name]) for name in weights)
    assert export.read_layers(folder).keys() == layers.keys()
    for pair, wanted in zip(export.read_kv_scales(folder), SCALES, strict=True):
        assert [scale.dtype for scale in pair] == [torch.float32] * 2
        for scale, value in zip(pair, wanted, strict=True):
            assert scale.item() == pytest.approx(value, rel=2**-8)
            assert torch.equal(scale, kv_scale(torch.tensor([value * 448]))) or value == 1.0


@pytest.mark.parametrize("kind", ["dense", "ct-w4g128"])
def test_config_and_record_tell_of_the_cache(kind, small, layers_of, tmp_path):
    folder = folder_of(kind, small, layers_of, tmp_path / "artefact")
    before = json.loads((folder / "config.json").read_text())
    record = export.read_record(folder)
    export.add_kv_scales(folder, RANGES, "abc")
    after = json.loads((folder / "config.json").read_text())
    settings = after.pop("quantization_config")
    scheme = settings.pop("kv_cache_scheme")
    assert {key: scheme[key] for key in ("num_bits", "type", "strategy", "symmetric", "dynamic")} == {
        "num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False,
    }  # fmt: skip
    old = before.pop("quantization_config", {"config_groups": {}, "quant_method": "compressed-tensors"})
    assert before == after and old.pop("kv_cache_scheme", None) is None
    assert {key: settings[key] for key in old} == old
    note = {"dtype": "fp8", "granularity": "tensor", "calibration_hash": "abc"}
    expected = record.model_copy(update={"kv_cache": note, "content": content_hash(folder)})
    assert export.read_record(folder) == expected and expected.content != record.content


def test_the_library_takes_the_scheme(small, layers_of, tmp_path):
    compressed = pytest.importorskip("compressed_tensors.quantization")
    folder = export.add_kv_scales(folder_of("ct-w4g128", small, layers_of, tmp_path / "a"), RANGES)
    parsed = compressed.QuantizationConfig.model_validate(export.quantization_config(folder))
    scheme = parsed.kv_cache_scheme
    assert (scheme.num_bits, scheme.type, scheme.strategy, scheme.dynamic) == (8, "float", "tensor", False)


@pytest.mark.parametrize("files", [1, 2])
def test_a_second_calibration_replaces_the_first(files, small, layers_of, tmp_path):
    folder = folder_of("dense", small, layers_of, tmp_path / "artefact")
    if files == 2:
        in_two_files(folder)
    export.add_kv_scales(folder, RANGES[::-1])
    assert export.read_kv_scales(folder)[0][0] == 1
    export.add_kv_scales(folder, RANGES)
    assert [pair[0].item() for pair in export.read_kv_scales(folder)] == [2.0, 1.0]


def test_the_same_ranges_give_the_same_bytes(small, layers_of, tmp_path):
    folders = [folder_of("ct-w4g128", small, layers_of, tmp_path / name) for name in "ab"]
    plain = content_hash(folders[0])
    assert {content_hash(export.add_kv_scales(folder, RANGES)) for folder in folders} != {plain}
    assert content_hash(folders[0]) == content_hash(folders[1])


@pytest.mark.parametrize("files", [1, 2])
def test_a_failure_leaves_the_folder_as_it_was(files, small, layers_of, tmp_path, monkeypatch):
    folder = folder_of("ct-w4g128", small, layers_of, tmp_path / "artefact")
    if files == 2:
        in_two_files(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_writer, "save", full)
    with pytest.raises(QCourseError, match="the disk filled up"):
        export.add_kv_scales(folder, RANGES)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["artefact"]


def test_files_that_other_folders_share_are_not_written_to(small, layers_of, tmp_path):
    """Unchanged files may be hard links; what changes must be a new file."""
    folder = folder_of("ct-w4g128", small, layers_of, tmp_path / "artefact")
    shared = tmp_path / "shared"
    shutil.copytree(folder, shared, copy_function=os.link)
    before = {path.name: path.read_bytes() for path in shared.iterdir()}
    export.add_kv_scales(folder, RANGES)
    assert {path.name: path.read_bytes() for path in shared.iterdir()} == before


def test_what_cannot_hold_scales_is_refused(small, layers_of, tmp_path):
    folder = folder_of("gptq-w4g128", small, layers_of, tmp_path / "gptq")
    with pytest.raises(QCourseError, match="quantized as gptq; KV scales stand in compressed-tensors or"):
        export.add_kv_scales(folder, RANGES)
    dense = folder_of("dense", small, layers_of, tmp_path / "dense")
    with pytest.raises(QCourseError, match="1 ranges do not fit the 2 layers"):
        export.add_kv_scales(dense, RANGES[:1])
    in_two_files(dense)
    index = json.loads((dense / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.layers.0.self_attn.k_scale"] = "model-00001-of-00002.safetensors"
    (dense / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        QCourseError, match="00001-of-00002.safetensors holds model.layers.0.self_attn.k_scale"
    ):
        export.add_kv_scales(dense, RANGES)


def test_a_layer_with_one_scale_only_is_refused(small, layers_of, tmp_path):
    folder = export.add_kv_scales(folder_of("dense", small, layers_of, tmp_path / "artefact"), RANGES)
    tensors = {name: tensor.clone() for name, tensor in tensor_file.load_folder(folder).items()}
    del tensors["model.layers.1.self_attn.v_scale"]
    tensor_writer.save(tensors, folder / "model.safetensors")
    with pytest.raises(QCourseError, match="KV scales but not model.layers.1.self_attn.v_scale"):
        export.read_kv_scales(folder)


NAMES = [
    "self_attn.{}_scale", "self_attn.attn.{}_scale", "attn.{}_scale", "self_attn.{}_proj.{}_scale",
    "self_attn.qkv_proj.{}_scale", "self_attn.{}_proj.output_scale", "self_attn.{}_cache.scale",
]  # fmt: skip


def with_scales(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """Add tensors to the first layers of a folder's single file."""
    stored = {f"model.layers.{name}": value for name, value in tensors.items()}
    known = {name: value.clone() for name, value in tensor_file.load_folder(folder).items()}
    tensor_writer.save(known | stored, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize("kind", ["dense", "gptq-w4g128", "ct-fp8"])
def test_scales_are_found_under_every_name_that_engines_know(kind, pattern, small, layers_of, tmp_path):
    from qcourse import measure

    folder = folder_of(kind, small, layers_of, tmp_path / "a")
    weights, size = export.read(folder), measure.bits_per_weight(folder).bits_per_quantized_weight
    values = {"k": [0.5, 0.25], "v": [2.0, 4.0]}
    with_scales(folder, {f"{layer}.{pattern.format(part, part)}": torch.tensor(values[part][layer])
                         for layer in (0, 1) for part in "kv"})  # fmt: skip
    assert [(k.tolist(), v.tolist()) for k, v in export.read_kv_scales(folder)] == [
        ([0.5], [2.0]), ([0.25], [4.0])]  # fmt: skip
    assert export.read(folder).keys() == weights.keys()
    assert measure.bits_per_weight(folder).bits_per_quantized_weight == size


def test_one_scale_may_stand_for_keys_and_values(small, layers_of, tmp_path):
    folder = folder_of("dense", small, layers_of, tmp_path / "a")
    with_scales(folder, {f"{layer}.self_attn.kv_scale": torch.tensor([0.5]) for layer in (0, 1)})
    assert [(k.item(), v.item()) for k, v in export.read_kv_scales(folder)] == [(0.5, 0.5)] * 2
    export.add_kv_scales(folder, RANGES)
    assert [pair[0].item() for pair in export.read_kv_scales(folder)] == [2.0, 1.0]


@pytest.mark.parametrize("name", ["self_attn.k_scale_inv", "self_attn.k_cache.amax", "self_attn.kv_amax"])
def test_a_scale_of_unknown_meaning_is_refused_by_name(name, small, layers_of, tmp_path):
    folder = folder_of("dense", small, layers_of, tmp_path / "a")
    with_scales(folder, {f"0.{name}": torch.tensor([0.5])})
    with pytest.raises(QCourseError, match=name):
        export.read(folder)


@pytest.mark.parametrize(
    "tensors, match",
    [
        ({"self_attn.k_scale": 0.5, "self_attn.attn.k_scale": 0.25}, "another scale for the same"),
        ({"self_attn.k_scale": 0.5, "self_attn.k_zero_point": 3.0}, "k_zero_point: caches with zero points"),
    ],
)
def test_scales_that_contradict_or_are_not_enough_are_refused(tensors, match, small, layers_of, tmp_path):
    folder = folder_of("dense", small, layers_of, tmp_path / "a")
    with_scales(folder, {f"0.{name}": torch.tensor([value]) for name, value in tensors.items()})
    with pytest.raises(QCourseError, match=match):
        export.read_kv_scales(folder)
