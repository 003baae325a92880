"""Checkpoints rewritten in another format: the same codes, scales and groups, and refusals that say why."""

import json
from dataclasses import replace

import pytest
import torch

from qcourse import export, models
from qcourse.common import QCourseError
from qcourse.numerics.affine import quantize_affine
from qcourse.pipeline.convert import rewrite
from qcourse.recipe.record import read_record
from tests.export.conftest import reordered, static

SYMMETRIC = ("gptq", "gptq_v2", "awq", "compressed-tensors")
MOVES = [(True, source, target) for source in SYMMETRIC for target in SYMMETRIC if source != target]
MOVES += [(False, source, target) for source in SYMMETRIC[1:] for target in SYMMETRIC[1:] if source != target]


@pytest.fixture
def written(small_model, qwen2, tmp_path):
    """Return a function that writes a model with biases, quantized by `quantizer`, in a format."""
    model, tokenizer = small_model(qwen2, torch.bfloat16), models.load_tokenizer(qwen2)

    def write(quantizer, form):
        layers = {name: quantizer(linear.weight) for name, linear in models.linears(model).items()}
        return export.save(layers, model, tokenizer, tmp_path / f"source-{form}", form)

    return write


def half_scales(weight, symmetric=True):
    """Return a layer as the libraries write it: of scales that float16 holds and bfloat16 does not."""
    layer = quantize_affine(weight, 4, 64, symmetric)
    return replace(layer, scale=(layer.scale * 1.001).half().float())


def same(first, second):
    """Assert that two folders hold one model, to the last bit, and return the layers of the second."""
    (layers, dense), (found, kept) = export.split(first), export.split(second)
    assert found.keys() == layers.keys() and kept.keys() == dense.keys()
    for name, layer in layers.items():
        assert torch.equal(found[name].codes, layer.codes) and torch.equal(found[name].scale, layer.scale)
        assert torch.equal(found[name].zero_point, layer.zero_point)
        assert torch.equal(found[name].dequantize(), layer.dequantize())
    assert all(torch.equal(kept[name], tensor) for name, tensor in dense.items())
    return found


@pytest.mark.parametrize(("symmetric", "source", "target"), MOVES)
def test_a_folder_in_another_format_holds_the_same_model(written, tmp_path, symmetric, source, target):
    folder = written(lambda weight: quantize_affine(weight, 4, 64, symmetric), source)
    made = rewrite(folder, tmp_path / "made", target)
    same(folder, made)
    assert read_record(made).made_by["converted_from"] == source.removesuffix("_v2")
    config = json.loads((made / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == target.removesuffix("_v2")


@pytest.mark.parametrize("symmetric", [True, False])
def test_transformers_computes_with_the_very_weights(written, tmp_path, symmetric):
    """Scales that only float16 holds: the folder asks for float16, and every product is of these weights."""
    from transformers import AutoModelForCausalLM

    folder = written(lambda weight: half_scales(weight, symmetric), "awq")
    layers = same(folder, made := rewrite(folder, tmp_path / "made"))
    model = AutoModelForCausalLM.from_pretrained(made)
    assert model.dtype == torch.float16
    model(torch.tensor([[1, 2]]))  # its first forward pass unpacks the weights
    for name, layer in layers.items():
        assert torch.equal(model.get_submodule(name).weight, layer.dequantize().half())
    same(made, back := rewrite(made, tmp_path / "back", "awq"))
    names = ("model.safetensors", "config.json")
    assert (back / names[0]).read_bytes() == (folder / names[0]).read_bytes()


def test_autogptqs_zero_biases_are_left_out_and_others_refused(written, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = written(lambda weight: quantize_affine(weight, 4, 64), "gptq")
    tensors, name = load_file(folder / "model.safetensors"), "model.layers.0.mlp.up_proj.bias"
    save_file(tensors | {name: torch.zeros(4)}, folder / "model.safetensors")
    assert name not in export.split(rewrite(folder, tmp_path / "made"))[1]
    save_file(tensors | {name: torch.ones(4)}, folder / "model.safetensors")
    with pytest.raises(QCourseError, match="up_proj.bias, which no part of the model reads"):
        rewrite(folder, tmp_path / "made")
    save_file({key: tensors[key] for key in tensors if key != "model.norm.weight"},
              folder / "model.safetensors")  # fmt: skip
    with pytest.raises(QCourseError, match="lacks the tensor model.norm.weight"):
        rewrite(folder, tmp_path / "made")


@pytest.mark.parametrize(
    ("quantizer", "source", "target", "reason"),
    [
        (reordered, "gptq", "compressed-tensors", "reordered columns"),
        (reordered, "gptq", "awq", "reordered columns"),
        (lambda weight: quantize_affine(weight, 8, 64), "gptq", "awq", "8 bits, but AWQ gemm files hold 4"),
        (lambda weight: quantize_affine(weight, 5, 64), "compressed-tensors", "gptq", "5 bits, but GPTQ"),
        (static, "compressed-tensors", "gptq", "only integer weights with 16-bit activations"),
        (lambda weight: quantize_affine(weight, 4, 64), "gptq", "bitsandbytes", "is no format that integer"),
    ],
)
def test_what_the_target_cannot_hold_is_refused(written, tmp_path, quantizer, source, target, reason):
    with pytest.raises(QCourseError, match=reason):
        rewrite(written(quantizer, source), tmp_path / "made", target)
    assert not (tmp_path / "made").exists()


def test_a_dense_folder_and_kv_scales_are_refused(written, qwen2, tmp_path):
    with pytest.raises(QCourseError, match="is not quantized; qcourse quantize writes it as awq"):
        rewrite(qwen2, tmp_path / "made", "awq")
