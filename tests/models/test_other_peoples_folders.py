"""Folders as others leave them: stray files, heads that are not tied, sampling settings, forgotten scales."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse import export, measure, models
from qcourse.common import QCourseError
from qcourse.common.checkpoint_files import checkpoint_files
from qcourse.quantize import quantize, quantize_folder
from qcourse.recipe import named


@pytest.fixture
def folder(llama_tied, tmp_path):
    return shutil.copytree(llama_tied, tmp_path / "model")


def weights(folder):
    return load_file(folder / "model.safetensors")


def noise(folder):
    draw = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(value.shape, generator=draw).bfloat16() for name, value in weights(folder).items()
    }


def shard(folder, index=True):
    """Cut the weights into two shards, with or without their index."""
    tensors = weights(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in halves.items():
        save_file({name: tensors[name] for name in held}, folder / file, {"format": "pt"})
    if index:
        weight_map = {name: file for file, held in halves.items() for name in held}
        text = json.dumps({"metadata": {}, "weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(text)
    return tensors


def everyone_reads(folder, wanted, size):
    """All readers of a folder give the same weights, and count their bits alone."""
    in_memory, mapped = models.load(folder).model.state_dict(), models.mapped_model(folder).state_dict()
    stored = export.read(folder)
    for name, value in wanted.items():
        for found in (in_memory, mapped, stored):
            assert torch.equal(found[name].float(), value.float()), name
    assert measure.bits_per_weight(folder).file_bytes == size


@pytest.mark.parametrize("stray", ["original.safetensors", "consolidated.safetensors", "a.safetensors"])
def test_a_stray_beside_the_one_file_is_named_and_left_alone(folder, capfd, stray):
    wanted, size = weights(folder), (folder / "model.safetensors").stat().st_size
    save_file(noise(folder), folder / stray)
    everyone_reads(folder, wanted, size)
    assert capfd.readouterr().err.count(f"{stray} is no part of the checkpoint and is left alone") == 1


@pytest.mark.parametrize("stray", ["model.safetensors", "consolidated.safetensors"])
def test_the_index_decides_over_a_stray(folder, stray):
    bad = noise(folder)
    wanted = shard(folder)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    save_file(bad, folder / stray, {"format": "pt"})
    everyone_reads(folder, wanted, size)


def test_shards_without_an_index_are_the_checkpoint(folder):
    wanted = shard(folder, index=False)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    save_file({"x": torch.zeros(1)}, folder / "consolidated.safetensors")
    assert [path.name[:11] for path in checkpoint_files(folder)] == ["model-00001", "model-00002"]
    everyone_reads(folder, wanted, size)


def test_one_file_of_another_name_is_the_checkpoint(folder):
    wanted = weights(folder)
    (folder / "model.safetensors").rename(folder / "weights-of-mine.safetensors")
    everyone_reads(folder, wanted, (folder / "weights-of-mine.safetensors").stat().st_size)


def test_scales_of_a_kv_cache_go_into_the_checkpoint_and_no_stray(folder):
    from qcourse.calibrate import KVRange

    save_file(noise(folder), folder / "consolidated.safetensors")
    heads = torch.ones(4, 64)
    export.add_kv_scales(folder, [KVRange(heads, heads), KVRange(heads, heads)])
    assert len(export.read_kv_scales(folder)) == 2


@pytest.fixture
def other_head(folder):
    """The folder, whose config.json says tied, with a head of its own in the file."""
    tensors = weights(folder)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * 0.5
    tensors["lm_head.weight"][3] += 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_head_of_its_own_is_kept_whatever_config_says(other_head, small_tokens, tmp_path):
    assert json.loads((other_head / "config.json").read_text())["tie_word_embeddings"] is True
    recipe, loaded = named("rtn-w4g64"), models.load(other_head)
    made = quantize(models.load(other_head).model, recipe, progress=False)
    streamed = quantize_folder(other_head, recipe, work=tmp_path / "work", progress=False)
    for name, each in (("memory", made), ("stream", streamed)):
        out = export.save(each.layers, each.model, loaded.tokenizer, tmp_path / name, "merged", recipe)
        assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
        head = weights(other_head)["lm_head.weight"]
        assert torch.equal(weights(out)["lm_head.weight"], head)
    first, second = (weights(tmp_path / name) for name in ("memory", "stream"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    with torch.no_grad():
        logits = models.load(tmp_path / "memory").model(small_tokens).logits
        assert torch.allclose(logits.float(), made.model(small_tokens).logits.float(), atol=0.05)


def test_a_head_that_is_the_embedding_stays_tied(folder):
    tensors = weights(folder)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert models.mapped_model(folder).config.tie_word_embeddings is True


SETTINGS = [{"eos_token_id": [0, 2], "max_length": 99}, {"do_sample": False, "temperature": 0.6}]


@pytest.mark.parametrize("settings", SETTINGS, ids=["two ends", "greedy with a temperature"])
def test_generation_settings_are_copied_as_they_are(folder, settings, tmp_path):
    (folder / "generation_config.json").write_text(json.dumps(settings))
    recipe, loaded = named("rtn-w4g64"), models.load(folder)
    streamed = quantize_folder(folder, recipe, work=tmp_path / "work", progress=False)
    made = quantize(loaded.model, recipe, progress=False)
    for name, each in (("memory", made), ("stream", streamed)):
        out = export.save(each.layers, each.model, loaded.tokenizer, tmp_path / name, "merged", recipe)
        assert json.loads((out / "generation_config.json").read_text()) == settings


def test_a_tensor_that_nothing_reads_is_an_error_that_names_it(folder):
    tensors = weights(folder)
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    tensors[f"{name}_scale_inv"] = torch.ones(1, 1)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for read in (models.load, models.mapped_model, export.read):
        with pytest.raises(
            QCourseError,
            match=r"up_proj.weight(_scale_inv, which no part| as F8_E4M3| .float8_|_scale_inv .float32)",
        ):
            read(folder)
