"""Loading: what a small folder becomes in memory, and what is refused with which words."""

import json
import os
import random
import shutil

import pytest
import torch

from qcourse import export, models
from qcourse.common import QCourseError
from qcourse.common.layouts import layout
from qcourse.common.tensor_header import read_header
from qcourse.models.load import release
from qcourse.quantize import quantize
from qcourse.recipe import named


@pytest.mark.parametrize("name", ["llama_tied", "llama_gqa", "qwen2", "qwen3", "odd_width"])
def test_load_gives_model_tokenizer_and_hash(small_folders, name):
    loaded = models.load(small_folders[name], device="cpu")
    assert loaded.model.dtype == torch.bfloat16 and not loaded.model.training
    assert len(loaded.hash) == 64 and loaded.tokenizer("group 128")["input_ids"]
    assert len(models.decoder_layers(loaded.model)) == 2
    names = list(models.linears(loaded.model))
    assert len(names) == 14 and names[0] == "model.layers.0.self_attn.q_proj"
    assert dict(loaded.model.named_modules())[names[-1]] is models.linears(loaded.model)[names[-1]]


@pytest.mark.parametrize("name", ["llama_tied", "llama_gqa", "qwen2", "qwen3", "odd_width"])
def test_shape_counts_the_parameters_of_the_real_model(small_folders, small_model, name):
    model = small_model(small_folders[name])
    shape = models.shape(small_folders[name])
    assert shape.total_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape.linear_parameters == sum(linear.weight.numel() for linear in models.linears(model).values())
    assert models.shape(model).total_parameters == shape.total_parameters


@pytest.mark.parametrize("name, published", [
    ("meta-llama/Llama-3.1-8B", 8_030_261_248), ("llama-2-7b-hf", 6_738_415_616),
    ("Qwen/Qwen2.5-7B", 7_615_616_512), ("Qwen/Qwen3-0.6B", 596_049_920),
    ("mistralai/Mixtral-8x7B-v0.1", 46_702_792_704),
])  # fmt: skip
def test_known_models_have_their_published_size(name, published):
    assert models.shape(name).total_parameters == published


def test_loaded_gives_the_memory_back(llama_tied, capsys):
    with models.loaded(llama_tied, device="cpu") as loaded:
        kept = loaded.model
    assert loaded.model is None and all(parameter.is_meta for parameter in kept.parameters())
    assert "released" in capsys.readouterr().out
    release(loaded)  # a second time is harmless


@pytest.mark.parametrize("recipe", ["nf4", "llm-int8"])
def test_a_librarys_checkpoint_is_given_back_too(small_model, llama_gqa, tmp_path, recipe):
    """bitsandbytes' parameters cannot be moved to shapes only."""
    made = quantize(small_model(llama_gqa, torch.bfloat16), named(recipe), progress=False)
    tokenizer = models.load(llama_gqa).tokenizer
    folder = export.save(made.layers, made.model, tokenizer, tmp_path / "artefact", "bitsandbytes")
    with models.loaded(folder) as loaded:
        assert loaded.model(torch.tensor([[1, 2]])).logits.isfinite().all()
    assert loaded.model is None


def test_unknown_name_and_missing_files_are_one_sentence(tmp_path, llama_tied):
    with pytest.raises(QCourseError, match="unknown model 'nonsense'"):
        models.resolve("nonsense")
    with pytest.raises(QCourseError, match="no config.json"):
        models.load(tmp_path)
    shutil.copy(llama_tied / "config.json", tmp_path)
    with pytest.raises(QCourseError, match="no weights"):
        models.load(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(QCourseError, match="pickles"):
        models.load(tmp_path)


def test_hub_id_without_network_fails_fast(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(QCourseError, match="127.0.0.1:9 cannot be reached"):
        models.resolve("someone/some-model-that-nobody-has")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(QCourseError, match="HF_HUB_OFFLINE is set"):
        models.resolve("someone/some-model-that-nobody-has")


def test_missing_device_is_named(llama_tied):
    if torch.cuda.is_available():
        assert models.load(llama_tied).model.device.type == "cuda"
    else:
        with pytest.raises(QCourseError, match="no CUDA GPU"):
            models.load(llama_tied, device="cuda")


def test_nan_weight_is_named(small_model, llama_tied):
    model = small_model(llama_tied)
    models.check_finite(model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = float("nan")
    with pytest.raises(QCourseError, match="layers.1.mlp.up_proj.weight holds 1 values"):
        models.check_finite(model)


def test_unsupported_architecture_is_named():
    with pytest.raises(QCourseError, match="'gpt2' is not supported; these are: llama"):
        layout(type("Config", (), {"model_type": "gpt2"})())


def test_missing_shard_is_named(tmp_path, llama_tied):
    folder = shutil.copytree(llama_tied, tmp_path / "copy")
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(QCourseError, match="lacks the shard model-00002"):
        models.load(folder)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return the file with one thing broken: cut, giant header, damaged byte, wrong offsets or dtype."""
    length = int.from_bytes(data[:8], "little")
    header, kind = json.loads(data[8 : 8 + length]), rng.randrange(5)
    name = rng.choice([key for key in header if key != "__metadata__"])
    if kind == 0:
        return data[: rng.randrange(len(data) - 1)]
    if kind == 1:
        return rng.randrange(len(data), 2**63).to_bytes(8, "little") + data[8:]
    if kind == 2:
        return data[:8] + bytes([rng.randrange(128, 256)]) + data[9:]
    if kind == 3:
        header[name]["data_offsets"] = [rng.randrange(-(2**40), 2**40) for _ in range(2)]
    else:
        header[name]["dtype"] = rng.choice(["F64", "I8", "Q4", "", None])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_two_hundred_mutated_files_are_refused(tmp_path, llama_tied):
    data, rng = (llama_tied / "model.safetensors").read_bytes(), random.Random(0)
    path = tmp_path / "model.safetensors"
    for _ in range(200):
        path.write_bytes(mutate(data, rng))
        with pytest.raises(QCourseError, match="is damaged"):
            read_header(path)
    os.truncate(path, 3)
    with pytest.raises(QCourseError, match="is damaged"):
        read_header(path)
