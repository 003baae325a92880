"""Mixtures of experts: each expert quantized by itself, on the tokens that its router sends there."""

import json

import pytest
import torch
from safetensors import safe_open

from qcourse import export, models
from qcourse.calibrate import walk
from qcourse.cli.app import outcome
from qcourse.common import QCourseError
from qcourse.measure import divergence
from qcourse.models.experts import routers, separate_experts
from qcourse.pipeline import Calibration, build
from qcourse.pipeline.evaluate import load
from qcourse.quantize import predicted_peak_bytes, quantize
from qcourse.quantize.coverage import coverage, expert_tokens
from qcourse.recipe import named

MIXTURES = ("qwen3_moe", "mixtral")


@pytest.mark.parametrize("name", MIXTURES)
def test_separate_experts_compute_what_one_tensor_does_under_the_names_of_files(
    small_folders, small_model, small_tokens, name
):
    model = small_model(small_folders[name])
    with torch.no_grad():
        wanted = model(small_tokens).logits
        separate_experts(separate_experts(model))
        assert torch.equal(model(small_tokens).logits, wanted)
    with safe_open(small_folders[name] / "model.safetensors", "pt") as file:
        assert set(model.state_dict()) == set(file.keys())


@pytest.mark.parametrize("name", MIXTURES)
def test_an_expert_is_calibrated_on_the_tokens_of_its_router(small_folders, small_model, small_tokens, name):
    model, seen = small_model(small_folders[name]), []
    hook = model.model.layers[0].mlp.gate.register_forward_hook(
        lambda module, given, out: seen.append((given[0], out[2]))
    )
    with torch.no_grad():
        model(small_tokens)
    hook.remove()
    (inputs, chosen), statistics = seen[0], next(walk(model, small_tokens)).collect()[2:]
    assert [len(item.names) for item in statistics] == [2, 1] * 4
    for number, item in enumerate(statistics[::2]):
        sent = inputs[(chosen == number).any(1)].bfloat16().double()  # as Hessians are summed
        assert item.n_tokens == len(sent) > 0 and f".experts.{number}." in item.names[0]
        assert torch.allclose(item.hessian.double(), sent.T @ sent / len(sent), atol=1e-3)


def test_experts_without_tokens_are_named_and_reached_on_request(small_folders):
    """One token goes to two of four experts."""
    folder, tokens, recipe = small_folders["qwen3_moe"], torch.tensor([[7]]), named("gptq-w4g64")
    few = quantize(models.load(folder).model, recipe, tokens, progress=False)
    found = expert_tokens(few.manifest["layers"])
    missed = [name for name, count in found.items() if count == 0]
    assert len(missed) == 4 and len(found) == 8
    said = coverage(found)
    assert "0 to 1, median" in said and all(name in said for name in missed) and "--calibrate-all" in said
    note = few.manifest["layers"][f"{missed[0]}.up_proj"]
    assert note["note"] == "no calibration token reached it; rounded to nearest"
    assert "relative_output_error" not in note
    every = quantize(models.load(folder).model, recipe, tokens, progress=False, all_experts=True)
    found = expert_tokens(every.manifest["layers"])
    assert set(found.values()) == {1} and "none reached" not in coverage(found)
    name = f"{missed[0]}.up_proj"
    assert not torch.equal(every.layers[name].codes, few.layers[name].codes)
    assert coverage({}) == ""


def test_awq_counts_the_hessians_of_all_experts_before_it_starts(small_folders, small_tokens):
    """Those of eight inputs of experts beside attention's two; GPTQ holds one at a time."""
    model = models.skeleton(small_folders["qwen3_moe"])
    needed = [predicted_peak_bytes(model, named(name), small_tokens) for name in ("gptq-w4g64", "awq-w4g64")]
    assert needed[1] - needed[0] == 4 * 8 * 256**2


def test_experts_in_one_tensor_are_not_written(small_folders, small_model, tmp_path):
    """GGUF and checkpoints would hold other names than the model's readers look for."""
    model = small_model(small_folders["mixtral"])
    with pytest.raises(QCourseError, match="gate_up_proj holds all experts of a layer; load the model with"):
        export.save({}, model, None, tmp_path / "out", "merged")


def test_what_no_token_reaches_has_no_fixed_scale(small_folders):
    model = models.load(small_folders["mixtral"]).model
    with pytest.raises(QCourseError, match=r"no calibration token reached .*experts\.\d\.w1, whose inputs"):
        quantize(model, named("fp8-static"), torch.tensor([[7]]), progress=False)


def test_all_tokens_do_not_change_what_leaves_a_layer(small_folders, small_tokens):
    """Only the statistics are those of all tokens: plain 8-bit codes of later layers' attention agree."""
    made = [quantize(models.load(small_folders["mixtral"]).model, named("w8a8-int8-static"), small_tokens,
                     progress=False, all_experts=flag) for flag in (False, True)]  # fmt: skip
    name = "model.layers.1.self_attn.q_proj"
    assert torch.equal(made[0].layers[name].input_scale, made[1].layers[name].input_scale)
    assert made[1].manifest["layers"]["model.layers.1.block_sparse_moe.experts.0.w2"][
        "calibration_tokens"] == small_tokens.numel()  # fmt: skip


@pytest.mark.parametrize(("name", "recipe", "form"), [
    ("qwen3_moe", "gptq-w4g64", "gptq"), ("mixtral", "awq-w4g64", "awq"),
    ("mixtral", "fp8-dynamic", "compressed-tensors"), ("qwen3_moe", "fp8-block", "compressed-tensors"),
    ("qwen3_moe", "w8a8-int8-static", "compressed-tensors"), ("mixtral", "nf4", "bitsandbytes"),
    ("qwen3_moe", "llm-int8", "bitsandbytes"), ("mixtral", "nvfp4", "compressed-tensors"),
])  # fmt: skip
def test_our_reading_of_a_file_computes_what_was_quantized(
    small_folders, small_tokens, tmp_path, name, recipe, form
):
    """Inputs included, where the file quantizes them; transformers, which would not, is refused."""
    made = quantize(models.load(small_folders[name]).model, named(recipe), small_tokens, progress=False)
    tokenizer = models.load_tokenizer(small_folders[name])
    folder = export.save(made.layers, made.model, tokenizer, tmp_path / "out", form, made.recipe)
    settings = export.quantization_config(folder)
    kept = settings.get("ignore") or settings.get("modules_to_not_convert") or (
        settings.get("llm_int8_skip_modules") or settings.get("dynamic"))  # fmt: skip
    assert all(any(name.replace(".", "\\.") in item or name in item for item in kept)
               for name in routers(made.model))  # fmt: skip
    found = divergence(load(str(folder)), made.model, small_tokens).kl_mean
    assert found < 1e-6
    with pytest.raises(QCourseError, match="transformers does not load the experts"):
        models.load(folder)


def test_quantize_reports_tokens_and_records_the_choice(small_folders, tmp_path, monkeypatch, capsys):
    arguments = ["quantize", str(small_folders["qwen3_moe"]), "--recipe", "gptq-w4g64", "--output"]
    monkeypatch.setattr("qcourse.pipeline.calibration.SEQUENCES", 4)
    for options in ([], ["--calibrate-all-experts", "--stream"]):
        out = tmp_path / f"out{len(options)}"
        assert outcome([*arguments, str(out), *options])[1] == 0
        assert "calibration tokens an expert: " in capsys.readouterr().err
        record = json.loads((out / "recipe.json").read_text())
        assert record["calibration"]["all_experts"] is bool(options)


@pytest.mark.parametrize(("name", "recipe", "calibration", "match"), [
    ("qwen3_moe", "rotation+rtn-w4g64", None, "not carried out on a mixture of experts"),
    ("mixtral", "gptaq-w4g64", None, "not carried out on a mixture of experts"),
    ("qwen3", "gptq-w4g64", Calibration(all_experts=True), "qwen3 is dense"),
    ("qwen3_moe", "rtn-w4g64", Calibration(all_experts=True), "leave --calibrate-all-experts out"),
])  # fmt: skip
def test_what_experts_do_not_allow_is_refused(small_folders, tmp_path, name, recipe, calibration, match):
    with pytest.raises(QCourseError, match=match):
        build(str(small_folders[name]), named(recipe), "compressed-tensors", tmp_path / "out",
              calibration=calibration)  # fmt: skip
    assert not (tmp_path / "out").exists()
