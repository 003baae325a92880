"""eval: a row of a folder, of an artefact against its baseline, of a GGUF, and pico's model card."""

import json

import pytest

from tests.engines import require


@pytest.fixture
def text(tmp_path):
    """A text of some hundred tokens."""
    path = tmp_path / "text.txt"
    path.write_text("The scale of a group is the largest weight divided by the number of levels. " * 90)
    return path


def test_a_model_against_itself(cli, llama_gqa, text):
    options = ("--baseline", llama_gqa, "--text", text, "--items", 0, "--windows", 1, "--json")
    row = json.loads(cli("eval", llama_gqa, *options).out)
    assert row["kl_mean"] < 1e-9 and row["perplexity"] > 1 and row["top1_agreement"] == 1


def test_an_artefact_against_its_baseline(cli, llama_gqa, tmp_path, text):
    artefact = tmp_path / "artefact"
    options = ("--method", "rtn", "--group-size", 64, "--output", artefact)
    assert cli("quantize", llama_gqa, *options).code == 0
    options = ("--baseline", llama_gqa, "--text", text, "--items", 0, "--windows", 2)
    found = cli("eval", artefact, *options, "--json")
    assert found.code == 0, found.err
    row = json.loads(found.out)
    assert row["recipe"] == "rtn-w4g64" and row["kl_mean"] > 1e-4
    assert 4 < row["bits_per_quantized_weight"] < 5 < row["bits_per_weight"] < 16
    people = cli("eval", artefact, *options).out
    agreement = next(line for line in people.splitlines() if "top1_agreement" in line)
    assert agreement.count("%") == 3
    assert "rtn-w4g64 in transformers" in people and "kl_mean" in people and "[" in people


@pytest.mark.slow
def test_a_gguf_against_its_baseline(cli, llama_gqa, tmp_path, text):
    require("llama.cpp", lane="gguf")
    file = tmp_path / "model.gguf"
    made = cli("quantize", llama_gqa, "--method", "gguf-q8_0", "--output", file)
    assert made.code == 0, made.err
    options = ("--baseline", llama_gqa, "--text", text, "--items", 0, "--windows", 1, "--json")
    found = cli("eval", file, *options)
    assert found.code == 0, found.err
    row = json.loads(found.out)
    assert row["engine"] == "llama.cpp" and 0 < row["kl_mean"] < 0.05


@pytest.mark.slow
def test_a_stranger_s_gguf_is_evaluated_by_its_own_tokenizer_and_as_a_folder(cli, llama_gqa, tmp_path, text):
    """Rows agree: perplexity of the file in llama.cpp, and of the folder that it becomes, in transformers."""
    require("llama.cpp", lane="gguf")
    from qcourse import export, models

    source = models.load(llama_gqa)
    file = export.gguf.write(source.model, source.tokenizer, tmp_path / "stranger.gguf")
    converted = cli("convert", file, tmp_path / "folder")
    assert converted.code == 0 and f"qcourse eval {tmp_path / 'folder'}" in converted.out
    options = ("--text", text, "--items", 0, "--windows", 1, "--json")
    rows = [json.loads(cli("eval", path, *options).out) for path in (file, tmp_path / "folder", llama_gqa)]
    assert [row["engine"] for row in rows] == ["llama.cpp", "transformers", "transformers"]
    assert rows[0]["perplexity"] == pytest.approx(rows[1]["perplexity"], rel=0.02)
    assert rows[1]["perplexity"] == rows[2]["perplexity"]


def test_a_quantized_folder_in_another_format_ships_as_before(cli, llama_gqa, tmp_path):
    made, moved = tmp_path / "made", tmp_path / "moved"
    cli("quantize", llama_gqa, "--recipe", "rtn-w4g64", "--format", "gptq", "--output", made)
    assert f"codes and scales of made as awq; qcourse eval {moved}" in cli(
        "convert", made, moved, "--format", "awq").out  # fmt: skip
    assert "rtn-w4g64 as awq" in cli("ship", moved).out


def test_convert_leaves_other_folders_alone(refused, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    assert "is not an artefact" in refused("convert", tmp_path / "x.gguf", tmp_path / "theirs")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert "damaged" in refused("eval", tmp_path / "x.gguf")
    assert "damaged" in refused("convert", tmp_path / "x.gguf", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_text_that_is_too_short_is_refused_with_numbers(refused, llama_gqa, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("three words only")
    assert "ask for fewer or shorter windows" in refused("eval", llama_gqa, "--text", short)


def test_nobody_serves_there(refused, llama_gqa):
    assert "127.0.0.1:9" in refused("eval", "http://127.0.0.1:9", "--baseline", llama_gqa)


def test_eval_pico_writes_the_model_card(cli, monkeypatch, tmp_path):
    figures = {
        "skills": {"recall": {"accuracy": 0.5, "interval": [0.4, 0.6], "n": 200}},
        "perplexity": 20.0,
        "kneser_ney_perplexity": 40.0,
    }
    monkeypatch.setattr("qcourse.models.resolve", lambda name: tmp_path)
    monkeypatch.setattr("qcourse.pico.card.metrics", lambda folder, progress: figures)
    result = cli("eval", "pico", "--json")
    assert json.loads(result.out) == figures == json.loads((tmp_path / "metrics.json").read_text())
    assert "recall           50.0% [40.0%, 60.0%] n=200" in cli("eval", "pico").out


def test_skills_carry_their_interval_or_say_that_they_do_not_apply(cli, llama_gqa, text):
    options = ("--text", text, "--items", 1, "--windows", 1)
    skills = json.loads(cli("eval", llama_gqa, *options, "--json").out)["skills"]
    assert skills and all(name.startswith("choice:") for name in skills), "asked by likelihood, of any model"
    assert all("no signal" in said and "guessing gives 25%" in said for said in skills.values())
    skills = json.loads(cli("eval", "pico", *options, "--json").out)["skills"]
    low, high = skills["code"]["interval"]
    assert low <= skills["code"]["accuracy"] <= high and high - low > 0.5
    assert "% n=1" not in (people := cli("eval", "pico", *options).out) and "%] n=1" in people


def changed(folder, target, settings, tensors=None):
    """Copy an artefact as others would have left it: no record, other settings, other tensors."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    (target / "recipe.json").unlink()
    config = json.loads((target / "config.json").read_text())
    config["quantization_config"] |= settings
    (target / "config.json").write_text(json.dumps(config))
    if tensors:
        stored = {name: value.clone() for name, value in load_file(target / "model.safetensors").items()}
        save_file(tensors(stored), target / "model.safetensors", {"format": "pt"})
    return target


@pytest.mark.parametrize("case", ["a layer left dense", "layers of two widths", "version 2 labelled 1"])
def test_gptq_files_that_transformers_reads_wrongly_are_read_here(case, llama_gqa, text, tmp_path, cli):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from qcourse import export
    from qcourse.models import linears
    from qcourse.numerics.affine import quantize_affine

    model = AutoModelForCausalLM.from_pretrained(llama_gqa, dtype=torch.bfloat16).requires_grad_(False)
    layers = {name: quantize_affine(linear.weight, 4, 64) for name, linear in linears(model).items()}
    name = "model.layers.1.mlp.down_proj"
    if case == "a layer left dense":
        del layers[name]
    elif case == "layers of two widths":
        layers[name] = quantize_affine(model.get_submodule(name).weight, 8, 64)
    form = "gptq_v2" if case.startswith("version") else "gptq"
    made = export.save(layers, model, AutoTokenizer.from_pretrained(llama_gqa), tmp_path / "made", form)
    folder = changed(made, tmp_path / "found", {"checkpoint_format": "gptq"})
    dense = export.save(layers, model, AutoTokenizer.from_pretrained(llama_gqa), tmp_path / "dense", "merged")
    options = ("--baseline", dense, "--text", text, "--items", 0, "--windows", 1, "--json")
    found = cli("eval", folder, *options)
    assert found.code == 0, found.err
    assert json.loads(found.out)["kl_mean"] < 1e-6
    assert "is decoded here" in found.err


@pytest.mark.parametrize(
    ("bits", "said", "stored"),
    [(4, "gptq", "gptq_v2"), (4, "gptq_v2", "gptq"), (3, "gptq", "gptq_v2"), (8, "gptq", "gptq_v2")],
)
def test_a_model_in_memory_has_the_zero_points_that_its_file_means(bits, said, stored, llama_gqa, tmp_path):
    require("gptqmodel", lane="gptq")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from qcourse import export, measure, models
    from qcourse.models import linears
    from qcourse.numerics.affine import quantize_affine

    model = AutoModelForCausalLM.from_pretrained(llama_gqa, dtype=torch.bfloat16).requires_grad_(False)
    layers = {name: quantize_affine(linear.weight, bits, 64) for name, linear in linears(model).items()}
    tokenizer = AutoTokenizer.from_pretrained(llama_gqa)
    made = export.save(layers, model, tokenizer, tmp_path / "made", stored)
    mislabelled = changed(made, tmp_path / "found", {"checkpoint_format": said})
    tokens = torch.arange(256)[None] % model.config.vocab_size
    logits = [measure.as_source(models.load(folder)).logits(tokens) for folder in (made, mislabelled)]
    assert torch.equal(*logits)


def test_a_quantized_folder_that_lacks_a_tensor_is_refused(llama_gqa, tmp_path, cli, text):
    require("compressed-tensors", lane="compressed-tensors")
    artefact = tmp_path / "a"
    made = cli("quantize", llama_gqa, "--method", "w8a8-int8", "--output", artefact)
    assert made.code == 0, made.err

    def without(stored):
        return {name: value for name, value in stored.items() if "0.input_layernorm" not in name}

    folder = changed(artefact, tmp_path / "b", {}, without)
    found = cli("eval", folder, "--text", text, "--items", 0, "--windows", 1)
    assert found.code != 0 and "lacks the tensor model.layers.0.input_layernorm" in found.err
