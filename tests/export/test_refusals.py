"""What a format cannot hold, a full disk, an interruption: one sentence each, and nothing half-written."""

import errno
import os
from pathlib import Path

import pytest
import torch

from qcourse import export
from qcourse.common import QCourseError, replace_folder
from qcourse.export import folder as folder_module
from qcourse.numerics.affine import quantize_affine
from tests.export.conftest import KINDS


@pytest.fixture
def model(small):
    return small("llama_gqa")[0]


@pytest.mark.parametrize(
    "kind, format, words",
    [
        ("gptq-w3g128", "awq", "3 bits, but AWQ gemm files hold 4"),
        ("ct-w5-channel", "gptq", "5 bits, but GPTQ files hold"),
        ("gptq-w4g64-act", "awq", "g_idx"),
        ("gptq-w4g64-act", "compressed-tensors", "g_idx"),
        ("bnb-nf4", "gptq", "is nf4"),
        ("ct-fp8", "awq", "is float8_e4m3fn"),
        ("gptq-w4g128", "bitsandbytes", "is int"),
        ("bnb-fp4", "compressed-tensors", "is fp4"),
        ("gptq-w4g128", "gguf", "unknown format"),
    ],
)
def test_a_format_says_what_it_cannot_hold(kind, format, words, model, layers_of, tmp_path):
    with pytest.raises(QCourseError, match=words):
        export.save(layers_of("llama_gqa", kind), model, None, tmp_path / "artefact", format)
    assert list(tmp_path.iterdir()) == []


def test_mixed_group_sizes_do_not_fit_awq(model, layers_of, tmp_path):
    layers = dict(layers_of("llama_gqa", "awq-w4g128"))
    name = next(iter(layers))
    layers[name] = layers_of("llama_gqa", "ct-w4g32-asym")[name]
    with pytest.raises(QCourseError, match="group size 32, most layers 128"):
        export.save(layers, model, None, tmp_path / "artefact", "awq")


def test_no_layers_and_odd_widths(model, small, tmp_path):
    with pytest.raises(QCourseError, match="no quantized layer"):
        export.save({}, model, None, tmp_path / "artefact", "gptq")
    odd, _ = small("odd_width")
    name = "model.layers.0.mlp.down_proj"
    layers = {name: quantize_affine(odd.get_submodule(name).weight, 4, -1)}
    with pytest.raises(QCourseError, match="300 inputs|172 outputs"):
        export.save(layers, odd, None, tmp_path / "artefact", "gptq")
    folder = export.save(layers, odd, None, tmp_path / "artefact", "compressed-tensors")
    assert torch.equal(export.read_layers(folder)[name].dequantize(), layers[name].dequantize())


def test_a_zero_point_of_zero_needs_version_two(model, layers_of):
    from qcourse.export import gptq

    layers = dict(layers_of("llama_gqa", "gptq-w4g128-asym"))
    layer = next(iter(layers.values()))
    layer.zero_point[0, 0] = 0
    with pytest.raises(QCourseError, match="zero point of 0"):
        gptq.check(layers, version=1)
    gptq.check(layers, version=2)
    assert gptq.decode(gptq.encode(layer, 2), gptq.configuration(layers, model, 2)).zero_point[0, 0] == 0


def test_scales_are_never_rounded_in_silence(model, layers_of, tmp_path):
    layers = dict(layers_of("llama_gqa", "gptq-w8-channel"))
    name = next(iter(layers))
    layers[name] = quantize_affine(model.get_submodule(name).weight, 8, -1)
    layers[name].scale[0, 0] = 1 / 3
    for format in ("gptq", "compressed-tensors"):
        with pytest.raises(QCourseError, match="the scale 0.333333"):
            export.save(layers, model, None, tmp_path / "artefact", format)


def test_too_little_room_is_told_before_writing(model, layers_of, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(QCourseError, match="the disk has 1 MB free"):
        export.save(
            layers_of("llama_gqa", "ct-fp8"), model, None, tmp_path / "artefact", "compressed-tensors"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error, expected",
    [
        (OSError(errno.ENOSPC, "No space left on device"), QCourseError),
        (RuntimeError("I/O error: No space left on device (os error 28)"), QCourseError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("a bug"), RuntimeError),
    ],
)
def test_a_failure_half_way_leaves_what_was_there(error, expected, model, layers_of, tmp_path, monkeypatch):
    layers, target = layers_of("llama_gqa", "ct-fp8"), tmp_path / "artefact"
    export.save(layers, model, None, target, "compressed-tensors")
    before = {path.name: path.read_bytes() for path in target.iterdir()}

    def fail(parts: list, found: dict, path: Path) -> int:
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(folder_module, "save_parts", fail)
    for place in (target, tmp_path / "new"):
        with pytest.raises(expected):
            export.save(layers, model, None, place, "compressed-tensors")
    assert [path.name for path in tmp_path.iterdir()] == ["artefact"]
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before


def test_what_stood_there_is_kept_until_the_new_folder_stands(tmp_path, monkeypatch):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    real = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise OSError("no")
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no"):
        patch.setattr("os.replace", fail)
        replace_folder(tmp_path / "new", tmp_path / "old")
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*/*")} == {"old/old", "new/new"}
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["old", "old/new"]


def test_every_kind_is_refused_by_some_format(layers_of):
    """The table above is worth something only if the formats do differ."""
    assert {KINDS[kind][0] for kind in KINDS} == set(export.FOLDER_FORMATS) - {"merged"}
