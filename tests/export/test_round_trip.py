"""What `save` writes, `read_layers` and `read` return to the last bit, for every format and model family."""

import json

import pytest
import torch

from qcourse import export
from qcourse.common import QCourseError
from qcourse.export import bitsandbytes
from qcourse.models import linears
from qcourse.quantize.layer import codes_of
from qcourse.recipe import Recipe
from tests.export.conftest import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_layers_return_unchanged(kind, small, layers_of, tmp_path):
    model, tokenizer = small("llama_gqa")
    layers = layers_of("llama_gqa", kind)
    folder = export.save(layers, model, tokenizer, tmp_path / "artefact", KINDS[kind][0])
    found = export.read_layers(folder)
    assert found.keys() == layers.keys()
    for name, layer in layers.items():
        back = found[name]
        assert (back.kind, back.bits, back.group_size) == (layer.kind, layer.bits, layer.group_size)
        assert back.codes.dtype == layer.codes.dtype
        assert torch.equal(back.codes.float(), layer.codes.float())
        torch.testing.assert_close(back.scale, layer.scale, rtol=0, atol=0)
        assert torch.equal(back.dequantize(), layer.dequantize())
        assert (back.g_idx is None) == (layer.g_idx is None)
        assert back.input_scale == layer.input_scale
        assert back.bits_per_weight() == layer.bits_per_weight()
        if layer.zero_point is not None:
            assert torch.equal(back.zero_point, layer.zero_point)
            assert back.symmetric == layer.symmetric


@pytest.mark.parametrize("family", ["llama_tied", "llama_gqa", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", ["gptq-w4g128", "awq-w4g128", "ct-w8a8", "bnb-nf4"])
def test_read_gives_every_weight_of_the_dense_model(kind, family, small, layers_of, tmp_path):
    model, tokenizer = small(family)
    layers = layers_of(family, kind)
    weights = export.read(export.save(layers, model, tokenizer, tmp_path / "artefact", KINDS[kind][0]))
    tied = model.config.tie_word_embeddings
    expected = {name: value for name, value in model.state_dict().items() if not (tied and "lm_head" in name)}
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        layer = layers.get(name.removesuffix(".weight"))
        assert torch.equal(weights[name], layer.dequantize() if layer else value.float()), name


def test_merged_is_a_plain_model(small, layers_of, tmp_path):
    from transformers import AutoModelForCausalLM

    model, tokenizer = small("qwen2")
    layers = layers_of("qwen2", "bnb-nf4")
    folder = export.save(layers, model, tokenizer, tmp_path / "merged", "merged")
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert export.read_layers(folder) == {}
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    for name, layer in layers.items():
        assert torch.equal(loaded.get_submodule(name).weight, layer.dequantize().to(torch.bfloat16))
        bias = model.get_submodule(name).bias
        assert bias is None or torch.equal(loaded.get_submodule(name).bias, bias)


def test_same_recipe_same_bytes(small, layers_of, tmp_path):
    model, tokenizer = small("llama_gqa")
    recipe = Recipe("gptq")
    folders = [
        export.save(
            layers_of("llama_gqa", "gptq-w4g128"),
            model,
            tokenizer,
            tmp_path / name,
            "gptq",
            recipe,
            {"made_by": {"seed": 1}},
        )
        for name in ("first", "second")
    ]
    files = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert files[0] == files[1] and "recipe.json" in files[0]
    for name in files[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_recipe_json_names_recipe_versions_and_machine(small, layers_of, tmp_path):
    model, tokenizer = small("llama_gqa")
    recipe = Recipe("gptq", bits=4)
    manifest = {"calibration": {"sha256": "abc", "seed": 7}, "kept": ["lm_head"]}
    layers = layers_of("llama_gqa", "gptq-w4g128")
    folder = export.save(layers, model, tokenizer, tmp_path / "artefact", "gptq", recipe, manifest)
    record = export.read_record(folder)
    assert record.recipe == recipe and record.recipe_hash == recipe.hash
    assert record.name == "gptq-w4g128" and record.format == "gptq"
    assert (record.calibration.sha256, record.calibration.seed) == ("abc", 7) and record.kept == ["lm_head"]
    assert record.versions["torch"] == torch.__version__
    assert record.machine["threads"] == torch.get_num_threads()
    assert str(tmp_path) not in json.dumps(record.to_values())


def test_layers_of_different_settings_each_keep_theirs(small, layers_of, tmp_path):
    model, tokenizer = small("llama_gqa")
    layers = dict(layers_of("llama_gqa", "gptq-w4g128"))
    changed = [name for name in layers if "down_proj" in name]
    layers |= {name: layers_of("llama_gqa", "gptq-w8-channel")[name] for name in changed}
    del layers["model.layers.0.self_attn.k_proj"]
    for format in ("gptq", "compressed-tensors"):
        folder = export.save(layers, model, tokenizer, tmp_path / format, format)
        found = export.read_layers(folder)
        assert found.keys() == layers.keys()
        assert all(found[name].bits == layers[name].bits for name in layers)
        assert all(torch.equal(found[name].dequantize(), layers[name].dequantize()) for name in layers)
        kept = export.read(folder)["model.layers.0.self_attn.k_proj.weight"]
        assert torch.equal(kept, model.get_submodule("model.layers.0.self_attn.k_proj").weight.float())


def int8_layers(model, threshold: float) -> dict:
    """Return a model's linears quantized by llm-int8 with an outlier threshold."""
    recipe = Recipe("llm-int8", bits=8, group_size=-1, threshold=threshold)
    return {name: codes_of(linear.weight, recipe, None) for name, linear in linears(model).items()}


def test_the_outlier_threshold_reaches_the_file_and_comes_back(small, tmp_path):
    model, tokenizer = small("llama_gqa")
    recipe = Recipe("llm-int8", bits=8, group_size=-1, threshold=3.0)
    layers = int8_layers(model, 3.0)
    folder = export.save(layers, model, tokenizer, tmp_path / "artefact", "bitsandbytes", recipe)
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert settings["llm_int8_threshold"] == 3.0
    name, layer = next(iter(layers.items()))
    back = bitsandbytes.decode(bitsandbytes.encode(layer, model.dtype), settings)
    assert back.threshold == 3.0
    assert bitsandbytes.configuration({name: back}, model)["llm_int8_threshold"] == 3.0
    assert export.read_record(folder).recipe.threshold == 3.0
    usual = export.save(int8_layers(model, 6.0), model, None, tmp_path / "usual", "bitsandbytes")
    assert json.loads((usual / "config.json").read_text())["quantization_config"]["llm_int8_threshold"] == 6.0


def test_one_file_has_one_outlier_threshold(small, tmp_path):
    """A recipe cannot mix them (threshold is not overridable); layers of two recipes can."""
    with pytest.raises(QCourseError, match="unknown fields threshold"):
        Recipe("llm-int8", bits=8, group_size=-1, overrides={"q_proj": {"threshold": 3.0}})
    model, tokenizer = small("llama_gqa")
    last = list(linears(model))[-1]
    mixed = int8_layers(model, 6.0) | {last: int8_layers(model, 3.0)[last]}
    with pytest.raises(QCourseError, match="thresholds 3.0, 6.0, but a bitsandbytes file has one for all"):
        export.save(mixed, model, tokenizer, tmp_path / "artefact", "bitsandbytes")
    assert not (tmp_path / "artefact").exists()
