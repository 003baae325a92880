"""GGUF to folder and back: the same tensors, configuration and token ids; llama.cpp's logits."""

import json

import pytest
import torch

from qcourse import export, gguf_reader, models, serve
from qcourse.common import QCourseError
from qcourse.gguf_reader.rotary import llama3, llama3_factors
from tests.engines import require
from tests.gguf_reader.conftest import HARD

FAMILIES = ["llama_tied", "llama_gqa", "qwen2", "qwen3", "odd_width", "phi3", "gemma2", "gemma3", "qwen3_moe",
            "mixtral", "smollm3", "granite", "olmo2", "glm4", "stablelm",
            "starcoder2"]  # fmt: skip
SAME = """model_type hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim vocab_size rms_norm_eps tie_word_embeddings bos_token_id eos_token_id rope_parameters
    max_position_embeddings architectures num_local_experts num_experts_per_tok moe_intermediate_size
    norm_topk_prob embedding_multiplier residual_multiplier attention_multiplier logits_scaling
    no_rope_layers""".split()


@pytest.mark.parametrize("family", FAMILIES)
def test_folder_gguf_folder(family, small_folders, written, tmp_path):
    from transformers import AutoConfig

    folder = gguf_reader.convert(written(family), tmp_path / family)
    before, after = (models.load(path) for path in (small_folders[family], folder))
    expected = before.model.state_dict()
    assert after.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in after.model.state_dict().items())
    assert after.tokenizer(HARD)["input_ids"] == before.tokenizer(HARD)["input_ids"]
    old, new = (AutoConfig.from_pretrained(path) for path in (small_folders[family], folder))
    wanted = {key: getattr(old, key, None) for key in SAME}
    wanted["head_dim"] = wanted["head_dim"] or old.hidden_size // old.num_attention_heads
    assert {key: getattr(new, key, wanted[key]) for key in SAME} == wanted
    assert new.dtype == torch.bfloat16 and not list(tmp_path.glob(".*"))
    again = export.gguf.write(after.model, after.tokenizer, tmp_path / "again.gguf")
    assert again.read_bytes() == written(family).read_bytes()


def test_mistral_keeps_its_window(small_folders, tmp_path, monkeypatch):
    from qcourse.gguf_reader import config as module

    model = models.load(small_folders["llama_gqa"])
    path = export.gguf.write(model.model, model.tokenizer, tmp_path / "x.gguf")
    real = module.value
    window = {"llama.attention.sliding_window": 128}
    monkeypatch.setattr(module, "value", lambda reader, name, default: window.get(
        name, real(reader, name, default)))  # fmt: skip
    read = json.loads((gguf_reader.convert(path, tmp_path / "x") / "config.json").read_text())
    assert (read["model_type"], read["sliding_window"], read["architectures"]) == (
        "mistral", 128, ["MistralForCausalLM"])  # fmt: skip
    assert type(models.load(tmp_path / "x").model).__name__ == "MistralForCausalLM"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama_gqa", "qwen2", "qwen3"])
def test_logits_are_llama_cpp_s(family, written, tmp_path):
    """Within 0.05 where the largest are about 5: llama.cpp rounds the inputs of a bf16 linear to bf16."""
    require("llama.cpp")
    folder = gguf_reader.convert(written(family), tmp_path / family)
    model = models.load(folder, dtype="float32")
    tokens = torch.arange(2, 130).view(1, 128)
    with torch.no_grad():
        ours = model.model(tokens).logits[0]
    with serve.llama_cpp(written(family), context=512, progress=False) as server:
        theirs = server.logits(tokens)[0]
    assert ours.abs().max() > 1
    assert (theirs - ours).square().mean().sqrt() < 0.05
    wrong = torch.roll(ours, 1, 0)
    assert (theirs - wrong).square().mean().sqrt() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "Q2_K", "Q3_K_M", "Q4_K_M",
                                  "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S"])  # fmt: skip
def test_every_type_becomes_its_own_weights_in_bf16(kind, written, tmp_path):
    require("llama.cpp")
    path = export.gguf.quantize(written("llama_gqa"), tmp_path / "x.gguf", kind)
    folder = gguf_reader.convert(path, tmp_path / "x")
    held, found = gguf_reader.read(path), models.load(folder).model.state_dict()
    assert all(torch.equal(found[name], held[name].bfloat16()) for name in held)
    assert found.keys() == held.keys()


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_quantized_experts_become_their_own_weights_in_bf16(family, written, tmp_path):
    require("llama.cpp")
    path = export.gguf.quantize(written(family), tmp_path / "x.gguf", "Q8_0")
    assert "Q8_0" in {kind for name, (kind, _) in gguf_reader.tensor_types(path).items() if "_exps" in name}
    held = gguf_reader.read(path)
    found = models.load(gguf_reader.convert(path, tmp_path / "x")).model.state_dict()
    assert found.keys() == held.keys()
    assert all(torch.equal(found[name], held[name].bfloat16()) for name in held)


def test_rotary_divisors_of_llama_3_are_recognised_and_others_refused():
    given = {"rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
             "original_max_position_embeddings": 8192}  # fmt: skip
    factors = llama3_factors(given, 64)
    assert llama3(factors, 5e5) == {"rope_type": "llama3"} | {
        k: v for k, v in given.items() if k != "rope_theta"
    }
    with pytest.raises(QCourseError, match="not those of Llama 3's scaling"):
        llama3(factors.flip(0), 5e5)


@pytest.mark.parametrize("name, answer, words", [
    ("general.architecture", "mamba", "GGUF files of 'mamba' are not read"),
    ("llama.expert_count", 8, "lacks llama.expert_used_count"),
    ("llama.rope.dimension_count", 32, "only 32 of 64 columns of a head"),
    ("llama.attention.head_count_kv", [2, 4], "num_key_value_heads differs from layer to layer"),
    ("llama.feed_forward_length", 300, r"gate_proj.weight as \[512, 256\] .* asks for \[300, 256\]"),
])  # fmt: skip
def test_what_is_not_read_is_refused_and_nothing_is_left(name, answer, words, written, tmp_path, monkeypatch):
    import gguf

    real = gguf.GGUFReader.get_field
    field = type("Field", (), {"contents": lambda self: answer})()
    monkeypatch.setattr(
        gguf.GGUFReader, "get_field", lambda reader, key: field if key == name else real(reader, key)
    )
    with pytest.raises(QCourseError, match=words):
        gguf_reader.convert(written("llama_gqa"), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_missing_and_foreign_tensors_are_named(written, tmp_path, monkeypatch):
    import gguf

    real = gguf.GGUFReader.__init__

    def without(name):
        def init(reader, path):
            real(reader, path)
            reader.tensors = [tensor for tensor in reader.tensors if tensor.name != name]

        return init

    monkeypatch.setattr(gguf.GGUFReader, "__init__", without("blk.1.ffn_up.weight"))
    with pytest.raises(QCourseError, match="lacks the tensor model.layers.1.mlp.up_proj.weight"):
        gguf_reader.convert(written("llama_gqa"), tmp_path / "x")
    from qcourse.gguf_reader import folder

    monkeypatch.undo()
    monkeypatch.setattr(folder, "places", lambda reader: {})
    with pytest.raises(QCourseError, match=r"holds \S+, which has no place in this architecture"):
        gguf_reader.convert(written("llama_gqa"), tmp_path / "x")
