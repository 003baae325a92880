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


def test_a_value_that_is_not_finite_is_named_whoever_loads_the_model(folder):
    """`eval` answered "perplexity nan"."""
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][3, 4] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(QCourseError, match=r"layers\.1\.mlp\.down_proj\.weight holds 1 values that are NaN"):
        models.load(folder)


def test_scales_of_fp8_blocks_are_read_right_or_refused(folder):
    """One row of scales for a weight of four blocks was stretched over all of it: KL 0.17 for 0.015."""
    small, plain = load_file(folder / "model.safetensors"), export.read(folder)
    for name in [name for name in small if name.endswith("proj.weight")]:
        blocks = small[name].float().unflatten(0, (-1, 128)).unflatten(2, (-1, 128))
        scale = blocks.abs().amax((1, 3)) / 448
        small[name] = (blocks / scale[:, None, :, None]).flatten(2).flatten(0, 1).to(torch.float8_e4m3fn)
        small[f"{name}_scale_inv"] = scale
    save_file(small, folder / "model.safetensors", {"format": "pt"})
    given = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    settings(folder, quantization_config=given)
    for name, weight in export.read(folder).items():
        assert (weight.float() - plain[name].float()).abs().max() <= plain[name].abs().max() / 16
    models.load(folder)
    name = "model.layers.0.mlp.up_proj.weight_scale_inv"
    save_file(small | {name: small[name][:1]}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(QCourseError, match=rf"{name} as \[1, 2\] and blocks of .* ask for \[4, 2\]"):
        models.load(folder)
    settings(folder, quantization_config=None)
    for read in (models.load, models.mapped_model):
        with pytest.raises(QCourseError, match="_scale_inv, which no part|as F8_E4M3; only F32"):
            read(folder)


def test_a_key_given_twice_is_no_json(folder):
    """json.loads keeps the last: a second rope_theta changed the model without a word."""
    path = folder / "config.json"
    path.write_text(path.read_text().rstrip()[:-1] + ', "hidden_size": 256}')
    for read in (models.load, models.skeleton, models.shape):
        with pytest.raises(
            QCourseError, match="config.json is not readable JSON .'hidden_size' stands in one"
        ):
            read(folder)


def test_a_sentencepiece_file_alone_says_what_reads_it(folder):
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    with pytest.raises(
        QCourseError, match="copy tokenizer.json .* or install sentencepiece, which reads its"
    ):
        models.load(folder)


def test_the_name_of_the_dtype_in_config_changes_nothing(small_folders, folder):
    config = json.loads((folder / "config.json").read_text())
    config.pop("dtype", config.pop("torch_dtype", None))
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "float16"}))
    old, new = (models.load(path).model for path in (small_folders["llama_gqa"], folder))
    assert all(torch.equal(tensor, old.state_dict()[name]) for name, tensor in new.state_dict().items())
    assert {tensor.dtype for tensor in new.state_dict().values()} == {torch.bfloat16}


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


def test_the_reader_of_quantized_folders_takes_no_key_twice_either(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace("{", '{"dtype": "float32", "dtype": "float16", ', 1))
    with pytest.raises(QCourseError, match="config.json is not a JSON object"):
        export.read(folder)
