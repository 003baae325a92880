"""Architectures whose layers differ: fused linears, norms of 1 + w on both sides, windows in some layers."""

import re

import pytest
import torch

from qcourse import export, models
from qcourse.calibrate import walk
from qcourse.calibrate.stages import stages_of
from qcourse.common import QCourseError, content_hash
from qcourse.common.layouts import LAYOUTS
from qcourse.measure import bits_per_weight, divergence
from qcourse.quantize import quantize, quantize_folder, reference
from qcourse.quantize.sensitivity import log_probabilities
from qcourse.recipe import named

ARCHITECTURES = ("phi3", "gemma2", "gemma3", "qwen3_moe", "mixtral", "smollm3", "granite", "olmo2", "glm4",
                 "stablelm", "starcoder2")  # fmt: skip
TYPES = {"gemma2": "gemma2", "gemma3": "gemma3_text", "olmo2": "olmo2", "glm4": "glm4"}
FORMS = {
    "gptq-w4g64": "gptq",
    "awq-w4g64": "awq",
    "rtn-w4g64": "compressed-tensors",
    "w8a8-int8": "compressed-tensors",
    "fp8-dynamic": "compressed-tensors",
}


@pytest.mark.parametrize(("name", "recipe"), [
    (name, recipe) for name in ARCHITECTURES for recipe in FORMS
    if recipe == "gptq-w4g64" or name not in ("gemma3", "mixtral", *ARCHITECTURES[5:])  # the same as others
    or recipe == "awq-w4g64" and name in ("granite", "olmo2")
])  # fmt: skip
def test_streamed_files_are_those_of_memory_and_return_the_weights(
    small_folders, small_tokens, tmp_path, name, recipe
):
    folder, recipe, form = small_folders[name], named(recipe), FORMS[recipe]
    whole = quantize(models.load(folder).model, recipe, small_tokens, progress=False)
    streamed = quantize_folder(folder, recipe, small_tokens, tmp_path / "work", progress=False)
    files = [
        export.save(made.layers, made.model, None, tmp_path / kind, form, recipe)
        for kind, made in (("whole", whole), ("streamed", streamed))
    ]
    assert content_hash(files[0]) == content_hash(files[1])
    weights = sum(layer.codes.numel() for layer in whole.layers.values())
    bits = 8 * sum(part.nbytes for part in stored_parts(files[0])) / weights
    assert bits_per_weight(files[0]).bits_per_quantized_weight == pytest.approx(bits, rel=1e-6)
    stored = export.read(files[0])
    assert set(whole.layers) == set(models.linears(whole.model))
    for full, layer in whole.layers.items():
        assert torch.equal(stored[f"{full}.weight"], layer.dequantize())


def stored_parts(folder):
    """Return the tensors of the quantized linears that a checkpoint folder holds, biases apart."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    return [
        tensor for name, tensor in tensors.items() if re.search(r"(_proj|\.c_fc|\.w[123])\.(?!bias)", name)
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_walk_computes_what_the_model_computes(small_folders, small_model, small_tokens, name):
    """Also where layers differ in what they see: the tokens reach beyond a window of 24."""
    model = small_model(small_folders[name])
    with torch.no_grad():
        wanted = model(small_tokens).logits
        for step in walk(model, small_tokens):
            found = log_probabilities(model, step, 0)
            assert torch.allclose(found, wanted.log_softmax(-1).flatten(0, 1), atol=1e-4)
    with torch.no_grad():
        hidden = model.model(small_tokens).last_hidden_state
    assert torch.equal(models.logits_of(model, hidden), wanted)


def test_capped_scores_are_capped_whoever_loads_the_model(small_folders, small_tokens):
    """torch's own attention leaves Gemma 2's cap on scores out."""
    from transformers import AutoModelForCausalLM

    folder = small_folders["gemma2"]
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert plain.config._attn_implementation == "sdpa"
    quantize(plain, named("bf16"), progress=False)
    for model in (plain, models.load(folder).model, models.mapped_model(folder)):
        assert model.config._attn_implementation == "eager"
    assert divergence(models.load(folder), plain, small_tokens).kl_mean < 1e-9


@pytest.mark.parametrize("name", TYPES)
def test_rotation_is_refused_where_norms_follow(small_folders, name):
    with pytest.raises(QCourseError, match=f"does not pass the norms after .* of {TYPES[name]}"):
        quantize(models.load(small_folders[name]).model, named("rotation+rtn-w4g64"), progress=False)


def test_awq_files_hold_scales_of_an_activation_that_is_not_written(small_folders, small_tokens, tmp_path):
    """transformers drew them at random: every logit was NaN."""
    recipe = named("awq-w4g64")
    done = quantize(models.load(small_folders["starcoder2"]).model, recipe, small_tokens, progress=False)
    with pytest.raises(QCourseError, match=r"mlp.c_fc stands before an activation without a gate"):
        export.save(done.layers, done.model, None, tmp_path / "x", "awq", recipe)
    made = export.save(done.layers, done.model, None, tmp_path / "x", "compressed-tensors", recipe)
    loaded = models.load(small_folders["starcoder2"])
    assert divergence(reference(done), models.filled(made, dense_of(made)), small_tokens).kl_mean < 1e-3
    assert divergence(loaded, reference(done), small_tokens).kl_mean < 0.1


@pytest.mark.parametrize("field", LAYOUTS["stablelm"].lacks)
def test_layers_that_a_field_makes_others_are_refused(small_folders, small_tokens, field):
    model = models.load(small_folders["stablelm"]).model
    setattr(model.config, field, True)
    with pytest.raises(QCourseError, match=f"stablelm with {field} is not supported"):
        quantize(model, named("rtn-w4g64"), progress=False)


def dense_of(folder):
    """Return the weights of a checkpoint folder as its codes stand for them, in bf16."""
    return {name: tensor.bfloat16() for name, tensor in export.read(folder).items()}


@pytest.mark.parametrize("recipe", ["gptq-w4g64", "awq-w4g64"])
@pytest.mark.parametrize("name", ["phi3", "gemma2", "qwen3_moe", "granite", "olmo2"])
def test_calibration_beats_plain_rounding(small_folders, small_model, small_tokens, name, recipe):
    plain = small_model(small_folders[name])
    rounding = "rtn-w4g64-asym" if recipe.startswith("awq") else "rtn-w4g64"
    found = []
    for each, tokens in ((recipe, small_tokens), (rounding, None)):
        made = quantize(small_model(small_folders[name]), named(each), tokens, progress=False)
        found.append(divergence(plain, reference(made), small_tokens).kl_mean)
    assert 0 < found[0] < found[1]


def test_every_row_names_parts_of_its_models(small_folders):
    names = {"llama": "llama_gqa", "qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3", "gemma2": "gemma2",
             "gemma3_text": "gemma3", "qwen3_moe": "qwen3_moe", "mixtral": "mixtral"}  # fmt: skip
    names |= {name: name for name in ("smollm3", "granite", "olmo2", "glm4", "stablelm", "starcoder2")}
    assert set(LAYOUTS) == {*names, "mistral"}
    for kind, folder in names.items():
        layer = models.skeleton(small_folders[folder]).model.layers[0]
        modules = dict(layer.named_modules())
        norms = {part for part in modules if part.endswith("layernorm")}
        assert norms == {norm for norm in LAYOUTS[kind].norms if norm}
        linears = {part for part, module in modules.items() if isinstance(module, torch.nn.Linear)}
        assert linears == {part for stage in stages_of(layer) for part in stage}
