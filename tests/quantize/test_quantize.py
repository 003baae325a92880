"""quantize() end to end on small models: every recipe, records, determinism, later layers, bad input."""

import json

import pytest
import torch

from qcourse import models
from qcourse.common import QCourseError
from qcourse.finetune import on_grid_of
from qcourse.methods import rtn
from qcourse.quantize import predicted_peak_bytes, quantize, reference
from qcourse.quantize.simulate import SimulatedLinear
from qcourse.recipe import Recipe, named

RECIPES = [
    *("rtn-w4g128", "rtn-w2g32", "rtn-w4-channel", "gptq-w4g128", "gptq-w3g64-act", "gptq-w4g128-asym"),
    *(
        "gptaq-w3g64-asym",
        "awq-w4g128",
        "awq+gptq-w3g128",
        "nf4",
        "llm-int8",
        "w8a8-int8",
        "w8a8-int8-static",
    ),
    *("smoothquant+w8a8-int8", "fp8-dynamic", "fp8-static", "fp8-block", "mxfp4", "nvfp4"),
    "rotation+rtn-w4g128",
]
ACTIVATIONS = ("llm-int8", "w8a8-int8", "fp8-dynamic", "fp8-static", "fp8-block")


@torch.no_grad()
def divergence(model, other, tokens) -> float:
    """Mean KL(model || other) over tokens."""
    ours, theirs = (m(tokens).logits.float().log_softmax(-1) for m in (model, other))
    return float((ours.exp() * (ours - theirs)).sum(-1).mean())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_and_keeps_its_promises(small_model, llama_gqa, small_tokens, name):
    recipe = named(name)
    model = small_model(llama_gqa, torch.bfloat16)
    result = quantize(model, recipe, small_tokens, progress=False)
    assert set(result.layers) == set(models.linears(model)) and result.model is model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert json.loads(json.dumps(result.manifest)) == result.manifest and result.recipe == recipe
    assert set(result.manifest["layers"]) == set(result.layers) and result.manifest["kept"] == []
    assert (result.manifest["calibration"] is not None) == recipe.needs_calibration
    for full, module in models.linears(model).items():
        assert torch.equal(module.weight, result.layers[full].dequantize().to(torch.bfloat16))
        assert isinstance(module, SimulatedLinear) == (recipe.method in ACTIVATIONS)
    assert recipe.bits <= result.bits_per_quantized_weight() < recipe.bits + 1
    limit = 0.12 if recipe.bits == 8 else 3.0
    plain = small_model(llama_gqa)
    assert 0 < divergence(plain, reference(result), small_tokens) < limit


def first_layer(result):
    return next(iter(result.layers.items()))


def test_controls_of_gptq_leave_the_search_or_the_feedback_out(small_model, llama_gqa, small_tokens):
    """The first linear sees the same inputs in every run, so its codes can be made by hand."""
    whole, searched, fed = (
        quantize(small_model(llama_gqa), named(f"gptq-w3g64{part}"), small_tokens, progress=False)
        for part in ("", "-nofeedback", "-nosearch")
    )
    name, layer = first_layer(whole)
    weight = models.linears(small_model(llama_gqa))[name].weight.detach()
    rounded = rtn.quantize_layer(weight, bits=3, group_size=64)
    assert torch.equal(fed.layers[name].scale, rounded.scale) and not torch.equal(layer.scale, rounded.scale)
    assert not torch.equal(fed.layers[name].codes, rounded.codes)
    nearest = on_grid_of(weight, searched.layers[name])
    assert torch.equal(searched.layers[name].codes, nearest.codes)
    assert not torch.equal(layer.codes, on_grid_of(weight, layer).codes)


def test_controls_of_awq_leave_the_clipping_or_the_scaling_out(small_model, llama_gqa, small_tokens):
    whole, scaled, clipped = (
        quantize(small_model(llama_gqa), named(f"awq-w3g64{part}"), small_tokens, progress=False)
        for part in ("", "-noclip", "-noscale")
    )
    assert scaled.manifest["transforms"] == whole.manifest["transforms"]
    assert not any(clipped.manifest["transforms"].values())
    name, layer = first_layer(clipped)
    weight = models.linears(small_model(llama_gqa))[name].weight.detach()
    plain = rtn.quantize_layer(weight, bits=3, group_size=64, symmetric=False)
    assert (layer.scale <= plain.scale).all() and (layer.scale < plain.scale).any()
    assert not torch.equal(scaled.layers[name].scale, plain.scale)
    assert (whole.layers[name].scale <= scaled.layers[name].scale).all()


@pytest.mark.parametrize("name", ["llama_tied", "qwen2", "qwen3"])
@pytest.mark.parametrize("recipe", ["gptq-w4g128", "awq-w4g128", "smoothquant+w8a8-int8"])
def test_every_family_is_quantized_well(small_folders, small_model, small_tokens, name, recipe):
    plain = small_model(small_folders[name])
    rounded = quantize(small_model(small_folders[name]), named("rtn-w4g128"), progress=False)
    ours = quantize(small_model(small_folders[name]), named(recipe), small_tokens, progress=False)
    assert divergence(plain, reference(ours), small_tokens) < divergence(
        plain, reference(rounded), small_tokens
    )


def test_fused_linears_share_the_tensor_scale_of_nvfp4(small_model, llama_gqa):
    result = quantize(small_model(llama_gqa), named("nvfp4"), progress=False)
    for layer in range(2):
        for names in ([f"self_attn.{part}_proj" for part in "qkv"], ["mlp.gate_proj", "mlp.up_proj"]):
            layers = [result.layers[f"model.layers.{layer}.{name}"] for name in names]
            plain = models.linears(small_model(llama_gqa))
            whole = torch.cat([plain[f"model.layers.{layer}.{name}"].weight.detach() for name in names])
            assert len({float(item.global_scale) for item in layers}) == 1
            assert float(layers[0].global_scale) == pytest.approx(448 * 6 / float(whole.abs().max()))
    kept = Recipe("nvfp4", group_size=16, overrides={"*.k_proj": {"skip": True}})
    part = quantize(small_model(llama_gqa), kept, progress=False)
    assert "model.layers.0.self_attn.k_proj" not in part.layers and len(part.layers) == 12


def test_later_linears_are_calibrated_on_quantized_outputs(small_model, llama_gqa, small_tokens):
    """The damage of skipping the first linears' codes shows in the Hessian of o_proj, in the same layer."""
    skipped = Recipe("gptq", bits=2, group_size=32, overrides={"*.0.self_attn.[qkv]_proj": {"skip": True}})
    ours, kept = (
        quantize(small_model(llama_gqa), recipe, small_tokens, progress=False).layers
        for recipe in (named("gptq-w2g32"), skipped)
    )
    assert not torch.equal(
        ours["model.layers.0.self_attn.o_proj"].codes, kept["model.layers.0.self_attn.o_proj"].codes
    )


@torch.no_grad()
def test_gptaq_lowers_the_distance_to_the_unquantized_output(small_model, small_folders, small_tokens):
    for name in ("llama_gqa", "qwen3"):
        plain = small_model(small_folders[name])
        wanted = plain.model(small_tokens).last_hidden_state
        error = {}
        for recipe in ("gptq-w3g64", "gptaq-w3g64"):
            result = quantize(small_model(small_folders[name]), named(recipe), small_tokens, progress=False)
            error[recipe] = float((result.model.model(small_tokens).last_hidden_state - wanted).norm())
        assert error["gptaq-w3g64"] < 0.99 * error["gptq-w3g64"]


def test_linear_that_calibration_never_reaches_is_named(small_model, llama_gqa, small_tokens):
    model = small_model(llama_gqa)
    model.model.layers[1].mlp.adapter = torch.nn.Linear(256, 256)
    refused("calibration never reaches mlp.adapter", model, "gptq-w4g128", small_tokens)


def test_reference_holds_exactly_the_codes(small_model, llama_gqa, small_tokens):
    result = quantize(
        small_model(llama_gqa, torch.bfloat16), named("gptq-w4g128"), small_tokens, progress=False
    )
    exact = reference(result)
    name = "model.layers.1.mlp.down_proj"
    assert torch.equal(models.linears(exact)[name].weight, result.layers[name].dequantize())
    assert exact.dtype == torch.float32 and result.model.dtype == torch.bfloat16
    assert not torch.equal(
        models.linears(exact)[name].weight, models.linears(result.model)[name].weight.float()
    )


@pytest.mark.parametrize("recipe", ["gptq-w4g128", "awq-w4g128"])
def test_same_input_gives_the_same_codes(small_model, llama_gqa, small_tokens, recipe):
    first, second = (
        quantize(small_model(llama_gqa), named(recipe), small_tokens, progress=False) for _ in range(2)
    )
    for name, layer in first.layers.items():
        assert torch.equal(layer.codes, second.layers[name].codes)
        assert torch.equal(layer.scale, second.layers[name].scale)


def test_activations_are_really_quantized(small_model, llama_gqa, small_tokens):
    result = quantize(small_model(llama_gqa), named("w8a8-int8"), progress=False)
    simulated = reference(result)
    for module in models.linears(result.model).values():
        module.__class__ = torch.nn.Linear  # the control: the same weights, inputs untouched
    weights_only = reference(result)
    assert divergence(simulated, weights_only, small_tokens) > 1e-4


def test_static_scale_comes_from_calibration_and_is_kept_for_export(small_model, llama_gqa, small_tokens):
    result = quantize(small_model(llama_gqa), named("fp8-static"), small_tokens, progress=False)
    scales = {float(layer.input_scale) for layer in result.layers.values()}
    assert len(scales) == 8 and all(0 < scale < 1 for scale in scales)  # one for each shared input
    narrow = quantize(small_model(llama_gqa), named("fp8-static"), small_tokens[:1, :2], progress=False)
    name = "model.layers.0.mlp.down_proj"
    assert narrow.layers[name].input_scale < result.layers[name].input_scale


def test_overrides_and_mixed_settings(small_model, llama_gqa, small_tokens):
    recipe = Recipe(
        "gptq",
        overrides={"self_attn.*": {"group_size": 32}, "*v_proj": {"bits": 8}, "*.1.mlp.*": {"skip": True}},
    )
    result = quantize(small_model(llama_gqa), recipe, small_tokens, progress=False)
    assert result.layers["model.layers.0.self_attn.q_proj"].scale.shape[1] == 8
    assert result.layers["model.layers.0.self_attn.v_proj"].bits == 8
    assert result.manifest["kept"] == [f"model.layers.1.mlp.{name}_proj" for name in ("gate", "up", "down")]


def test_manifest_tells_errors_and_damping(small_model, llama_gqa, small_tokens):
    result = quantize(small_model(llama_gqa), named("gptq-w4g128"), small_tokens, progress=False)
    record = result.manifest["layers"]["model.layers.0.self_attn.q_proj"]
    assert 0 < record["relative_output_error"] < record["relative_weight_error"] < 0.1
    assert record["damping"] == 0.01 and record["calibration_tokens"] == small_tokens.numel()
    calibration = result.manifest["calibration"]
    assert (calibration["sequences"], calibration["seq_len"], len(calibration["sha256"])) == (8, 64, 64)


def test_an_override_that_matches_no_linear_is_refused(small_model, llama_gqa, small_tokens):
    mistyped = Recipe("gptq", group_size=32, overrides={"*.qproj": {"bits": 8}})
    with pytest.raises(QCourseError, match="qproj.*matches no linear.*self_attn"):
        quantize(small_model(llama_gqa), mistyped, small_tokens, progress=False)


@pytest.mark.parametrize(("method", "passes"), [("rtn", 1), ("gptq", 2)])
def test_before_plain_rounding_awq_runs_each_layer_once(small_model, llama_gqa, small_tokens, method, passes):
    """Rounding only weighs columns; GPTQ after AWQ still learns from what quantized layers give."""
    model, seen = small_model(llama_gqa), []
    model.model.layers[0].mlp.up_proj.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    quantize(model, Recipe(method, "awq", group_size=32), small_tokens, progress=False)
    assert sum(shape[0] * shape[1] for shape in seen) == passes * small_tokens.numel()


def test_stacked_linears_get_the_codes_they_would_get_alone(small_model, llama_gqa, small_tokens):
    together = quantize(small_model(llama_gqa), named("gptq-w4g128"), small_tokens, progress=False)
    alone = Recipe("gptq", overrides={"*q_proj": {"bits": 4, "group_size": 64}})
    apart = quantize(small_model(llama_gqa), alone, small_tokens, progress=False)
    name = "model.layers.0.self_attn.k_proj"
    assert torch.equal(together.layers[name].codes, apart.layers[name].codes)


def test_bf16_recipe_changes_nothing(small_model, llama_gqa):
    model = small_model(llama_gqa)
    weight = models.linears(model)["model.layers.0.mlp.up_proj"].weight.clone()
    result = quantize(model, named("bf16"), progress=False)
    assert result.layers == {} and result.bits_per_quantized_weight() == 16
    assert torch.equal(models.linears(model)["model.layers.0.mlp.up_proj"].weight, weight)


def refused(words: str, model, recipe: str, tokens=None) -> None:
    with pytest.raises(QCourseError, match=words):
        quantize(model, named(recipe), tokens, progress=False)


def test_bad_calibration_is_refused(small_model, llama_gqa, small_tokens):
    model = small_model(llama_gqa)
    refused("needs calibration tokens, which are missing", model, "gptq-w4g128")
    refused("needs calibration tokens, which are empty", model, "awq-w4g128", small_tokens[:0])
    refused("token 600 is outside the vocabulary of 512", model, "gptq-w4g128", torch.full((1, 4), 600))
    refused("must be integers", model, "gptq-w4g128", torch.rand(1, 4))


def test_width_that_the_group_does_not_divide_is_refused_with_sizes(small_model, odd_width):
    words = r"group size 128 does not divide 172 columns \(.*q_proj\), 300 columns \(.*\); these divide: 4, 2"
    refused(words, small_model(odd_width), "rtn-w4g128")
    refused("mxfp4 has groups of 32 only", small_model(odd_width), "mxfp4")
    refused("fp8-block has groups of 128 only", small_model(odd_width), "fp8-block")
    assert quantize(small_model(odd_width), named("rtn-w4-channel"), progress=False).layers


def test_damaged_quantized_and_foreign_models_are_refused(small_model, llama_gqa):
    model = small_model(llama_gqa)
    model.model.layers[1].self_attn.k_proj.weight.data[0, 0] = float("inf")
    refused("layers.1.self_attn.k_proj.weight holds 1 values that are NaN or infinite", model, "rtn-w4g128")
    model = small_model(llama_gqa)
    quantize(model, named("rtn-w4g128"), progress=False)
    refused(r"already quantized \(rtn-w4g128\)", model, "nf4")
    model = small_model(llama_gqa)
    model.config.quantization_config = {"quant_method": "gptq"}
    refused(r"already quantized \(gptq\)", model, "nf4")
    model = small_model(llama_gqa)
    model.config.model_type = "gpt2"
    refused("'gpt2' is not supported", model, "nf4")
    refused("written by llama.cpp's quantizer", small_model(llama_gqa), "gguf-q4_k_m")


def test_run_that_does_not_fit_is_refused_with_numbers(small_model, llama_gqa, small_tokens, monkeypatch):
    from qcourse.quantize import memory

    model, recipe = small_model(llama_gqa), named("gptq-w4g128")
    needed = predicted_peak_bytes(model, recipe, small_tokens)
    assert needed > 4 * 512**2 and predicted_peak_bytes(model, named("gptaq-w4g128"), small_tokens) > needed
    monkeypatch.setattr(memory, "available_bytes", lambda device: needed - 1)
    refused(
        r"needs about \d\.\d GiB beside the model and \d\.\d GiB are free", model, "gptq-w4g128", small_tokens
    )
    monkeypatch.setattr(memory, "available_bytes", lambda device: needed)
    quantize(model, recipe, small_tokens, progress=False)
