"""quantize, ship, eval and sweep on small models, and each refusal with nothing half-written."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse import export, models
from qcourse.recipe import named
from qcourse.recipe.record import read_record
from tests.engines import require


@pytest.fixture(autouse=True)
def short_calibration(monkeypatch):
    """Four windows of 64 tokens are enough to see that the pieces fit."""
    monkeypatch.setattr("qcourse.pipeline.calibration.SEQUENCES", 4)
    monkeypatch.setattr("qcourse.pipeline.calibration.LENGTH", 64)


@pytest.mark.parametrize(
    ("method", "form"),
    [
        ("gptq", "gptq"),
        ("awq", "awq"),
        ("rtn", "compressed-tensors"),
        ("nf4", "bitsandbytes"),
        ("fp8", "compressed-tensors"),
    ],
)
def test_an_artefact_of_every_kind_is_written_and_passes_ship(cli, llama_gqa, tmp_path, method, form):
    output = tmp_path / "artefact"
    made = cli("quantize", llama_gqa, "--method", method, "--output", output)
    assert made.code == 0, made.err
    record = read_record(output)
    assert record.format == form and record.source.model == llama_gqa.name
    shipped = cli("ship", output)
    assert shipped.code == 0, shipped.err
    assert record.name in shipped.out
    assert ("vllm serve" in shipped.out) == (method != "nf4")


def test_options_change_the_recipe(cli, llama_gqa, tmp_path):
    output = tmp_path / "artefact"
    options = ("--method", "gptq", "--bits", 3, "--group-size", 64, "--desc-act", "--format", "gptq")
    assert cli("quantize", llama_gqa, *options, "--output", output).code == 0
    recipe = json.loads((output / "recipe.json").read_text())["recipe"]
    assert (recipe["bits"], recipe["group_size"], recipe["desc_act"]) == (3, 64, True)


def test_a_recipe_file_and_a_calibration_text(cli, llama_gqa, tmp_path):
    recipe, text, output = tmp_path / "recipe.json", tmp_path / "text.txt", tmp_path / "artefact"
    recipe.write_text(named("gptq-w4g64").to_json())
    text.write_text("weights and scales, " * 200)
    made = cli("quantize", llama_gqa, "--recipe", recipe, "--calibration", text, "--output", output)
    assert made.code == 0 and "gptq-w4g64 as gptq" in made.out, made.err


@pytest.mark.parametrize(("method", "form"), [("rtn", "compressed-tensors"), ("bf16", "merged")])
def test_scales_of_the_kv_cache_are_calibrated_on_the_quantized_model(cli, llama_gqa, tmp_path, method, form):
    from qcourse.calibrate import kv_ranges
    from qcourse.export import read_kv_scales
    from qcourse.pipeline import calibration_tokens

    output = tmp_path / "artefact"
    made = cli("quantize", llama_gqa, "--method", method, "--kv-cache-dtype", "fp8", "--output", output)
    assert made.code == 0, made.err
    assert json.loads((output / "recipe.json").read_text())["format"] == form
    source = models.load(output)
    ranges = kv_ranges(source.model, calibration_tokens(source.tokenizer))
    for (key, value), wanted in zip(read_kv_scales(output), ranges, strict=True):
        assert float(key) == pytest.approx(float(wanted.key.max()) / 448, rel=2**-6)
        assert float(value) == pytest.approx(float(wanted.value.max()) / 448, rel=2**-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "gptq"), "gptq files hold no scales of a KV cache; use --format compressed-tensors"),
        (("--method", "rtn", "--stream"), "calibrated on the whole model: leave --stream out"),
    ],
)
def test_scales_that_cannot_be_stored_are_refused(cli, llama_gqa, tmp_path, options, words):
    place = ("--kv-cache-dtype", "fp8", "--output", tmp_path / "artefact")
    made = cli("quantize", llama_gqa, *options, *place)
    assert made.code != 0 and words in made.err and not list(tmp_path.iterdir())
    made = cli("quantize", llama_gqa, "--method", "rtn", "--kv-cache-dtype", "int8", *place[2:])
    assert made.code != 0 and "in fp8, not in 'int8'" in made.err


def test_streamed_from_disk_the_codes_are_the_same(cli, llama_gqa, tmp_path):
    from qcourse.export import read

    for name, extra in (("memory", ()), ("stream", ("--stream",))):
        made = cli("quantize", llama_gqa, "--method", "gptq", *extra, "--output", tmp_path / name)
        assert made.code == 0, made.err
    whole, streamed = read(tmp_path / "memory"), read(tmp_path / "stream")
    assert whole.keys() == streamed.keys() and all(whole[key].equal(streamed[key]) for key in whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["memory", "stream"]


def test_a_bit_budget_gives_widths_that_differ(cli, llama_gqa, tmp_path):
    from qcourse.export import read_layers

    output = tmp_path / "artefact"
    made = cli("quantize", llama_gqa, "--method", "gptq", "--bit-budget", 3.6, "--output", output)
    assert made.code == 0, made.err
    layers = read_layers(output).values()
    stored = sum(layer.bits_per_weight() * layer.codes.numel() for layer in layers)
    assert len({layer.bits for layer in layers}) > 1
    assert 3.2 < stored / sum(layer.codes.numel() for layer in layers) <= 3.6


REFUSALS = [
    (["nowhere", "--method", "rtn"], "unknown model 'nowhere'"),
    (["acme/absent-7b", "--method", "rtn"], "acme/absent-7b"),
    (["MODEL", "--method", "magic"], "unknown recipe 'magic'"),
    (["MODEL"], "--method or by --recipe"),
    (["MODEL", "--method", "awq", "--bits", "5"], "5"),
    (["MODEL", "--method", "rtn", "--group-size", "100"], "100"),
    (["MODEL", "--method", "nf4", "--format", "awq"], "has no awq form"),
    (["MODEL", "--method", "rtn", "--format", "zip"], "unknown format 'zip'"),
    (["MODEL", "--method", "gptq", "--calibration", "absent.txt"], "absent.txt"),
    (["MODEL", "--method", "gptq", "--bit-budget", "1.5"], "below the least, 2.125 with scales"),
    (["MODEL", "--method", "gptq", "--bit-budget", "4", "--stream"], "leave one out"),
    (["MODEL", "--recipe", "absent.json"], "absent.json cannot be read"),
    (["MODEL", "--method", "gptq", "--bit-budget", "nan"], "a number of bits a weight such as 4.25, not nan"),
    (["MODEL", "--method", "rtn", "--calibration", "absent.txt"], "takes no calibration text"),
    (["MODEL", "--method", "gguf", "--bits", "3"], "a GGUF type fixes its grid, so bits cannot be set"),
    (["MODEL", "--method", "mxfp4", "--group-size", "16"], "mxfp4 has groups of 32, not 16"),
]  # fmt: skip


def edit_config(**changes):
    """Return a function that changes config.json in a folder; None takes a key away."""

    def edit(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return edit


def edit_weights(change):
    """Return a function that changes the table of tensors in a folder."""

    def edit(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return edit


K_PROJ = "model.layers.1.self_attn.k_proj.weight"
DAMAGE = {
    "nan": (edit_weights(lambda t: t[K_PROJ].fill_(float("nan"))), "NaN or infinite"),
    "missing": (edit_weights(lambda t: t.pop(K_PROJ)), f"lacks the tensor {K_PROJ}"),
    "shape": (edit_weights(lambda t: t.update({K_PROJ: torch.ones(4, 4)})), f"{K_PROJ} as [4, 4] and config"),
    "family": (edit_config(model_type="gpt2"), "'gpt2' is not supported"),
    "alien": (edit_config(model_type="alien"), "cannot be loaded (ValueError: The checkpoint"),
    "nameless": (edit_config(model_type=None), "names no model_type"),
    "no heads": (edit_config(num_attention_heads=0), "cannot be loaded"),
    "list": (lambda folder: (folder / "config.json").write_text("[]"), "names no model_type"),
    "torn": (lambda folder: (folder / "config.json").write_text("{"), "is not readable JSON"),
    "gptq": (edit_config(quantization_config={"quant_method": "gptq"}), "already quantized (gptq)"),
    "fp8": (edit_config(quantization_config={"quant_method": "fp8"}), "already quantized (fp8)"),
    "nameless table": (edit_config(quantization_config={"bits": 4}), "already quantized (how is not said)"),
    "tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "no readable tokenizer"),
}


@pytest.mark.parametrize("extra", [(), ("--stream",)], ids=["memory", "stream"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused(refused, llama_gqa, tmp_path, damage, extra):
    change, sentence = DAMAGE[damage]
    folder = shutil.copytree(llama_gqa, tmp_path / "model")
    change(folder)
    out = tmp_path / "out"
    assert sentence in refused("quantize", folder, "--method", "rtn", *extra, "--output", out / "artefact")
    assert not out.exists() or not list(out.rglob("*"))


def test_llama_cpp_is_given_no_infinity(refused, llama_gqa, tmp_path):
    folder = shutil.copytree(llama_gqa, tmp_path / "model")
    edit_weights(lambda tensors: tensors[K_PROJ].fill_(float("inf")))(folder)
    sentence = refused("quantize", folder, "--method", "gguf-q8_0", "--output", tmp_path / "out.gguf")
    assert f"{K_PROJ} holds 32768 values that are NaN or infinite" in sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("gptq", "--desc-act", "--format", "compressed-tensors"), "g_idx"),
        (("awq", "--bits", 3, "--format", "awq"), "AWQ gemm files hold 4"),
        (("gptq", "--group-size", -1), "172 inputs, but GPTQ packs 8 together"),
        (("awq", "--group-size", 4), "172 outputs, but AWQ packs 8 together"),
    ],
)
def test_what_the_file_cannot_hold_is_told_before_any_work(refused, odd_width, tmp_path, monkeypatch, options,
                                                           sentence):  # fmt: skip
    monkeypatch.setattr("qcourse.models.load", None)  # no weight is read
    options = options if "--group-size" in options else (*options, "--group-size", 4)
    assert sentence in refused("quantize", odd_width, "--method", *options, "--output", tmp_path / "artefact")


@pytest.mark.parametrize(("arguments", "sentence"), REFUSALS)
def test_refused_and_nothing_half_written(refused, llama_gqa, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = [llama_gqa if argument == "MODEL" else argument for argument in arguments]
    assert sentence in refused("quantize", *arguments, "--output", tmp_path / "out" / "artefact")
    assert not list(tmp_path.rglob("*.safetensors")) and not (tmp_path / "out" / "artefact").exists()


def test_a_group_size_nobody_named_is_chosen_and_said_once(cli, odd_width, tmp_path):
    made = cli("quantize", odd_width, "--method", "rtn", "--output", tmp_path / "artefact")
    assert made.code == 0 and "rtn-w4-channel as compressed-tensors" in made.out, made
    assert made.err.count("no usual group fits, one scale a row: rtn-w4-channel") == 1


def test_a_recipe_is_named_or_read_from_a_file(cli, refused, llama_gqa, tmp_path):
    output = tmp_path / "artefact"
    made = cli("quantize", llama_gqa, "--recipe", "nvfp4", "--output", output)
    assert made.code == 0 and "nvfp4 as compressed-tensors" in made.out, made.err
    sentence = refused("quantize", llama_gqa, "--method", "zork", "--output", output)
    assert "unknown recipe 'zork'; methods are rtn, gptq," in sentence and "w2g32" not in sentence


def test_group_sizes_that_would_work_are_named(refused, odd_width, tmp_path):
    sentence = refused("quantize", odd_width, "--method", "rtn-w4g128", "--output", tmp_path / "artefact")
    assert "128" in sentence and "172" in sentence


def test_what_is_no_artefact_is_never_overwritten(refused, cli, llama_gqa, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    sentence = refused("quantize", llama_gqa, "--method", "rtn", "--output", tmp_path)
    assert "is left as it is" in sentence and (tmp_path / "thesis.txt").read_text() == "years of work"


def test_ship_refuses_what_is_damaged_missing_or_not_ours(refused, cli, llama_gqa, tmp_path):
    assert "does not exist" in refused("ship", tmp_path / "absent")
    assert "recipe.json" in refused("ship", llama_gqa)
    output = tmp_path / "artefact"
    assert cli("quantize", llama_gqa, "--method", "rtn", "--output", output).code == 0
    weights = next(output.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    assert weights.name in refused("ship", output)


def test_serve_refuses_before_it_starts(refused, cli, llama_gqa, tmp_path):
    output = tmp_path / "artefact"
    options = ("--method", "rtn", "--bits", 3, "--format", "gptq")
    assert cli("quantize", llama_gqa, *options, "--output", output).code == 0
    sentence = refused("serve", output)
    assert sentence.startswith("vllm cannot load rtn-w3g128 as gptq: ") and "it loads as:" in sentence
    assert "unknown engine 'spaceship'" in refused("serve", output, "--engine", "spaceship")
    assert "is a folder" in refused("serve", output, "--engine", "llama.cpp")
    assert "llama.cpp has no FP8 cache" in refused("serve", "x.gguf", "--kv-cache-dtype", "fp8")


def test_serve_names_a_port_in_use(refused, llama_gqa):
    import socket

    from tests.engines import require

    require("vllm")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in refused("serve", llama_gqa, "--port", port)


def test_serve_says_how_to_install_a_missing_engine(refused, llama_gqa, monkeypatch):
    from qcourse.common import QCourseError

    def missing():
        raise QCourseError("vLLM is not installed; make serving installs it")

    monkeypatch.setattr("qcourse.serve.vllm_start.find_vllm", missing)
    assert "make serving" in refused("serve", llama_gqa)


def test_loadtest_of_nothing(refused):
    assert "127.0.0.1:9" in refused("loadtest", "http://127.0.0.1:9")


def test_sweep_resumes(cli, llama_gqa, tmp_path):
    grid = tmp_path / "grid.yaml"
    board = tmp_path / "rows.jsonl"
    body = f"model: {llama_gqa}\nscoreboard: {board}\nwindows: 2\ncontext: 64\nrecipes: "
    grid.write_text(body + "[rtn-w4g128]")
    first = cli("sweep", grid)
    assert first.code == 0 and "1 recipes, 0 measured before" in first.out, first.err
    grid.write_text(body + "[rtn-w4g128, {method: rtn, bits: [3, 2], group_size: 64}]")
    second = cli("sweep", grid)
    assert "3 recipes, 1 measured before" in second.out, second.err
    rows = [json.loads(line) for line in board.read_text().splitlines()]
    assert [row["recipe"] for row in rows] == ["rtn-w4g128", "rtn-w3g64", "rtn-w2g64"]
    assert rows[0]["kl_mean"] < rows[1]["kl_mean"] < rows[2]["kl_mean"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("recipes: [magic]", "unknown recipe"), ("model: pico", "a list `recipes`"), ("a: [", "is not YAML"),
     ("recipes: [rtn-w4g128]\ncolour: red", "unknown keys colour"),
     ("recipes: [{bits: 4}]", "no entry of a grid")],
)  # fmt: skip
def test_a_grid_is_checked_before_anything_is_computed(refused, tmp_path, text, sentence):
    grid = tmp_path / "grid.yaml"
    grid.write_text(text)
    assert sentence in refused("sweep", grid)


@pytest.mark.parametrize(("method", "engine"), [("gguf-bf16", "gguf"), ("gguf-q8_0", "llama.cpp")])
def test_a_gguf_is_written_twice_beside_what_belongs_to_others(cli, llama_gqa, tmp_path, method, engine):
    require(engine)
    theirs, output = tmp_path / "recipe.json", tmp_path / "x.gguf"
    theirs.write_text("flour, water, salt")
    for _ in range(2):
        made = cli("quantize", llama_gqa, "--method", method, "--output", output)
        assert made.code == 0, made.err
        assert read_record(output).name == method
    assert theirs.read_text() == "flour, water, salt"
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.json", "x.gguf", "x.gguf.recipe.json"}


def test_two_ggufs_in_a_folder_keep_two_records(cli, llama_gqa, tmp_path):
    from qcourse.pipeline.naming import origin, recipe_name

    require("gguf")
    paths = {method: str(tmp_path / f"{method}.gguf") for method in ("gguf-bf16", "gguf-f16")}
    for method, path in paths.items():
        assert cli("quantize", llama_gqa, "--method", method, "--output", path).code == 0
    for method, path in paths.items():
        assert recipe_name(path) == method and origin(path, None) == llama_gqa.name
        assert f"{method} as gguf" in cli("ship", path).out


def test_serving_a_gguf_asks_the_table_by_its_own_record(cli, llama_gqa, tmp_path, monkeypatch):
    from qcourse.cli.serving import checked_engine

    require("gguf")
    output, asked = tmp_path / "x.gguf", []
    assert cli("quantize", llama_gqa, "--method", "gguf-bf16", "--output", output).code == 0
    monkeypatch.setattr("qcourse.recipe.check_engine", lambda *what: asked.append(what))
    assert checked_engine(output, None) == "llama.cpp"
    assert asked == [(named("gguf-bf16"), "gguf", "llama.cpp")]


def test_a_gguf_and_a_folder_do_not_replace_each_other(refused, cli, llama_gqa, tmp_path, monkeypatch):
    require("gguf")
    file, folder, cookbook = tmp_path / "x.gguf", tmp_path / "artefact", tmp_path / "cookbook"
    assert cli("quantize", llama_gqa, "--method", "gguf-bf16", "--output", file).code == 0
    assert cli("quantize", llama_gqa, "--method", "rtn", "--output", folder).code == 0
    cookbook.mkdir()
    (cookbook / "recipe.json").write_text('{"name": "bread"}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("qcourse.models.load", None)  # all is told before a model is read
    for method, output, sentence in (
        ("rtn", file, "is a GGUF file and compressed-tensors is written as a folder"),
        ("gguf-bf16", folder, "is a folder and a GGUF is a file; name one, such as"),
        ("rtn", cookbook, "exists and is not an artefact; it is left as it is"),
        ("gguf-bf16", cookbook / "recipe.json", "exists and is not an artefact; it is left as it is"),
    ):
        assert sentence in refused("quantize", llama_gqa, "--method", method, "--output", output)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("extra", [(), ("--stream",)], ids=["memory", "stream"])
def test_llm_int8_names_the_linear_whose_weight_is_beyond_float16(cli, llama_gqa, tmp_path, extra):
    folder, output = shutil.copytree(llama_gqa, tmp_path / "model"), tmp_path / "artefact"
    edit_weights(lambda tensors: tensors[K_PROJ].view(-1)[:1].fill_(1e5))(folder)
    made = cli("quantize", folder, "--method", "llm-int8", *extra, "--output", output)
    told = "error: model.layers.1.self_attn.k_proj: a weight of 99840 does not fit in float16 (limit 65504)"
    assert made.code == 1 and told in made.err
    assert not output.exists()
    for method in ("w8a8-int8", "nf4"):
        assert cli("quantize", folder, "--method", method, "--output", tmp_path / method).code == 0


def test_recipe_takes_a_name_as_well_as_a_file(cli, refused, llama_gqa, tmp_path):
    made = cli("quantize", llama_gqa, "--recipe", "rtn-w4g64", "--output", tmp_path / "artefact")
    assert made.code == 0 and "rtn-w4g64 as compressed-tensors" in made.out, made.err
    (tmp_path / "one.json").write_text(named("gptq-w3g64").to_json())
    assert (
        json.loads(cli("plan", "pico", "--recipe", tmp_path / "one.json", "--json").out)["recipe"]
        == "gptq-w3g64"
    )
    said = refused("quantize", llama_gqa, "--recipe", "zork", "--output", tmp_path / "other")
    assert "unknown recipe 'zork'" in said


def test_an_unknown_method_lists_methods(refused, llama_gqa, tmp_path):
    said = refused("quantize", llama_gqa, "--method", "zork", "--output", tmp_path / "artefact")
    assert "unknown recipe 'zork'; methods are rtn, gptq" in said and "w8g64" not in said


def test_an_unknown_field_in_a_record_is_one_sentence(cli, refused, llama_gqa, tmp_path):
    output = tmp_path / "artefact"
    assert cli("quantize", llama_gqa, "--method", "rtn", "--output", output).code == 0
    record = json.loads((output / "recipe.json").read_text())
    record["recipe"]["colour"] = "red"
    (output / "recipe.json").write_text(json.dumps(record))
    for command in ("ship", "serve"):
        assert "unknown fields: colour" in refused(command, output)


KEPT = [("k_proj", "q_proj v_proj k_proj"), ("1.mlp.up_proj", "gate_proj up_proj"), ("o_proj", "o_proj")]


@pytest.mark.parametrize("kept, alike", KEPT)
@pytest.mark.parametrize("form", ["gptq", "compressed-tensors"])
def test_a_module_kept_in_16_bits_keeps_those_it_is_fused_with(kept, alike, form, cli, llama_gqa, tmp_path):
    """vLLM stores q, k, v in one matrix, and refuses a file in which some of them are quantized."""
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        json.dumps({"method": "rtn", "group_size": 64, "overrides": {f"*{kept}": {"bits": 16}}})
    )
    output = tmp_path / "artefact"
    made = cli("quantize", llama_gqa, "--recipe", recipe, "--format", form, "--output", output)
    assert made.code == 0, made.err
    layers = set(export.read_layers(output))
    for index in (0, 1):
        for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                     "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):  # fmt: skip
            here = part.split(".")[1] in alike.split() and (index == 1 or "." not in kept)
            assert (f"model.layers.{index}.{part}" in layers) == (not here)
    assert ("in one matrix" in made.err) == (kept != "o_proj")


def test_output_that_is_a_link_is_written_through_and_stays_a_link(cli, llama_gqa, tmp_path):
    elsewhere = tmp_path / "a disk with room"
    elsewhere.mkdir()
    for target, options in (("empty", ("rtn",)), ("new", ("rtn", "--stream"))):
        link = tmp_path / f"link to {target}"
        link.symlink_to(elsewhere / target)
        if target == "empty":
            (elsewhere / target).mkdir()
        made = cli("quantize", llama_gqa, "--method", *options, "--output", link)
        assert made.code == 0, made.err
        assert link.is_symlink() and (elsewhere / target / "model.safetensors").is_file()
        assert f"qcourse ship '{elsewhere / target}'" in made.out


@pytest.mark.parametrize("place", ["/proc/artefact", "a file/artefact"])
def test_a_place_that_takes_no_files_is_named_before_any_work(refused, llama_gqa, tmp_path, place):
    (tmp_path / "a file").touch()
    for method in ("rtn", "gguf-bf16"):
        sentence = refused("quantize", llama_gqa, "--method", method, "--output", tmp_path / place)
        assert "cannot be written" in sentence and "takes no files" in sentence
