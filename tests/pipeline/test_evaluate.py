"""What eval calls an artefact and reads it by: what its own files say; what is said beforehand."""

import json

import pytest

from qcourse import export, models
from qcourse.pipeline.checks import checked
from qcourse.pipeline.evaluate import tokenizer_of
from qcourse.pipeline.naming import name_of_folder, recipe_name
from qcourse.recipe import named
from qcourse.recipe.record import new_record, write_record

INT8 = {"weights": {"num_bits": 8}, "input_activations": {"num_bits": 8}}
NAMES = {
    "gptq-w4g128": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True},
    "gptq-w8": {"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": True},
    "awq-w4g64": {"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": True},
    "nf4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "llm-int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "compressed-tensors-w8a8": {"quant_method": "compressed-tensors", "config_groups": {"group_0": INT8}},
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    "hqq": {"quant_method": "hqq"},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_named_by_its_quantization_config(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": NAMES[name]}))
    assert name_of_folder(tmp_path) == recipe_name(str(tmp_path)) == name


def test_autogptq_keeps_it_in_a_file_of_its_own(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert recipe_name(str(tmp_path)) == "bf16"
    (tmp_path / "quantize_config.json").write_text(json.dumps({"bits": 3, "group_size": 32, "sym": False}))
    assert recipe_name(str(tmp_path)) == "gptq-w3g32-asym"


def test_our_own_record_comes_first(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": NAMES["hqq"]}))
    write_record(tmp_path, new_record(named("gptq-w2g16"), "gptq", {}))
    assert recipe_name(str(tmp_path)) == "gptq-w2g16"


def test_a_gguf_is_named_by_what_most_weights_are_stored_in(tmp_path, llama_gqa):
    from qcourse import models
    from qcourse.export import gguf

    loaded = models.load(llama_gqa)
    path = gguf.write(loaded.model, loaded.tokenizer, tmp_path / "model.gguf", named("gguf-bf16"), {})
    (tmp_path / "model.gguf.recipe.json").unlink()
    assert recipe_name(str(path)) == "gguf-bf16"


def test_nobody_knows_what_a_url_serves():
    assert recipe_name("http://127.0.0.1:8000") == "served"


def test_a_gguf_brings_its_own_tokenizer_wherever_its_model_is_now(small_folders, tmp_path):
    """`eval FILE.gguf` looked for the folder that its record names."""
    pytest.importorskip("gguf")
    loaded, path = models.load(small_folders["llama_gqa"]), tmp_path / "model.gguf"
    manifest = {"source": {"model": "gone", "hash": loaded.hash}}
    export.gguf.write(loaded.model, loaded.tokenizer, path, named("bf16"), manifest)
    text = "The scale of a group"
    assert tokenizer_of(str(path), None)(text)["input_ids"] == loaded.tokenizer(text)["input_ids"]


@pytest.mark.parametrize(("name", "left"), [
    ("olmo2", "q_proj, k_proj, v_proj, gate_proj, up_proj"), ("starcoder2", "c_proj"), ("granite", ""),
])  # fmt: skip
def test_awq_names_the_linears_that_it_gives_no_scales(small_folders, capsys, name, left):
    checked(small_folders[name], named("awq-w4g64"), "compressed-tensors")
    said = capsys.readouterr().err
    assert (f"before {left} of {name} to hold their scales" in said) if left else not said
