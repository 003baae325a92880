"""Folders that transformers loads without a word, and wrongly; a tensor of no elements."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse import export, gguf_reader, models
from qcourse.common import QCourseError


@pytest.fixture
def folder(small_folders, tmp_path):
    return shutil.copytree(small_folders["llama_gqa"], tmp_path / "odd")


def settings(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_tensor_in_two_shards_is_named_by_every_reader(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    name = "model.norm.weight"
    save_file(tensors, folder / "model-00001-of-00002.safetensors", {"format": "pt"})
    save_file({name: 2 * tensors[name]}, folder / "model-00002-of-00002.safetensors", {"format": "pt"})
    for read in (models.load, models.mapped_model, export.read):
        with pytest.raises(QCourseError, match=f"{name} is in model-00001-.* and in model-00002-"):
            read(folder)


def test_a_method_that_transformers_ignores_is_refused(folder):
    """An FP8 file of ModelOpt came in without its scales."""
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors |= {name: tensors[name].to(torch.float8_e4m3fn), f"{name}_scale": torch.tensor(0.5)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    settings(folder, quantization_config={"quant_method": "modelopt", "quant_algo": "FP8"})
    with pytest.raises(QCourseError, match="quantized as 'modelopt', which transformers would load as if"):
        models.load(folder)


def test_an_empty_tensor_is_named_when_streamed(folder):
    tensors = load_file(folder / "model.safetensors") | {"model.empty": torch.empty(0)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(QCourseError, match=r"holds model\.empty, which no part of the model reads"):
        models.mapped_model(folder)


@pytest.mark.parametrize("name, key", [("llama_gqa", "hidden_act"), ("gemma2", "hidden_activation")])
def test_an_activation_that_llama_cpp_does_not_have_is_not_written(name, key, small_folders, tmp_path):
    pytest.importorskip("gguf")
    folder = shutil.copytree(small_folders[name], tmp_path / "act")
    settings(folder, **{key: "gelu"})
    loaded = models.load(folder)
    with pytest.raises(QCourseError, match="activation is gelu and llama.cpp's .* always computes"):
        export.gguf.write(loaded.model, loaded.tokenizer, tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_the_default_of_several_chat_templates_is_written(folder, tmp_path):
    pytest.importorskip("gguf")
    loaded = models.load(folder)
    loaded.tokenizer.chat_template = {"default": "{{ messages[0].content }}", "tool_use": "x"}
    path = export.gguf.write(loaded.model, loaded.tokenizer, tmp_path / "x.gguf")
    assert gguf_reader.read_tokenizer(path).chat_template == "{{ messages[0].content }}"
