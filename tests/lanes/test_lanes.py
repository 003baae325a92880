"""Artefacts are built once, lanes measure them in their engines, what is missing is reported."""

import json
from dataclasses import replace

import pytest

from qcourse import measure, models
from qcourse.cli import main
from qcourse.common import QCourseError
from qcourse.course import report
from qcourse.lanes import lane as lane_module
from qcourse.lanes import library_runs, measure_lanes, peers, qlora_model
from qcourse.lanes.lane import LANES, Lane
from qcourse.lanes.measure_lanes import measure_lane
from qcourse.pipeline import Calibration, artefacts, build, calibration
from qcourse.recipe import named
from tests.engines import require
from tests.small_models import write_small_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("models") / "small", "llama_tied")


@pytest.fixture
def base(folder, tmp_path, monkeypatch):
    """Return a small loaded model; build/ and the cache are the test's own."""
    monkeypatch.setattr(artefacts, "shared_folder", lambda: tmp_path / "build")
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    monkeypatch.setattr("qcourse.common.repository", lambda: tmp_path)
    monkeypatch.setattr(calibration, "SEQUENCES", 2)
    monkeypatch.setattr(calibration, "LENGTH", 64)
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QCOURSE_MODEL", str(folder))
    return models.load()


@pytest.fixture
def tokens(base):
    return measure.evaluation_tokens(base.tokenizer, 2, 64)


def test_an_artefact_is_built_once_and_again_for_another_model(base):
    pico = replace(base, name="pico")
    path = artefacts.artefact("gptq-w4g128", "gptq", pico)
    written = (path / "model.safetensors").stat().st_mtime_ns
    assert artefacts.artefact("gptq-w4g128", "gptq", pico) == path
    assert (path / "model.safetensors").stat().st_mtime_ns == written
    artefacts.artefact("gptq-w4g128", "gptq", replace(pico, hash="another"))
    assert (path / "model.safetensors").stat().st_mtime_ns != written


def test_models_do_not_overwrite_each_others_artefacts(base):
    other = replace(base, hash="another")
    paths = {
        artefacts.folder_of(named("gptq-w4g128"), "gptq", model)
        for model in (base, other, replace(base, name="pico"))
    }
    assert len(paths) == 3


def test_a_checkout_that_cannot_be_written_leaves_artefacts_to_the_learner(base, tmp_path, monkeypatch):
    """Lanes and lessons share build/; a workshop's shared checkout is read-only."""
    from qcourse.common import cache_folder, places

    monkeypatch.setattr(artefacts, "shared_folder", places.shared_folder)
    monkeypatch.setattr(places, "repository", lambda: tmp_path / "checkout")
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("QCOURSE_CACHE")
    for mode, root in ((False, tmp_path / "home"), (True, tmp_path / "checkout")):
        monkeypatch.setattr(places.os, "access", lambda path, kind, mode=mode: mode)
        folder = artefacts.folder_of(named("gptq-w4g128"), "gptq", replace(base, name="pico"))
        assert folder == root / "build" / "artefacts" / "gptq-w4g128-gptq"
        assert cache_folder() == root / "build" / "cache"


def test_calibration_windows_are_the_same_for_everyone(base):
    first = calibration.calibration_tokens(base.tokenizer, 3)
    assert first.shape == (3, 64) and first.equal(calibration.calibration_tokens(base.tokenizer, 3))
    other = calibration.calibration_tokens(base.tokenizer, 3, ["other text, again and again. "] * 99)
    assert not first.equal(other)


def test_a_lane_is_one_row_of_the_scoreboard(base, tokens, tmp_path):
    lane = Lane("rtn", "rtn-w4g128", "compressed-tensors", "transformers")
    row = measure_lane(lane, base, tokens, 0)
    stored = [json.loads(line) for line in (tmp_path / "build" / "scoreboard.jsonl").read_text().splitlines()]
    assert len(stored) == 1 and stored[0]["kl_mean"] == row.kl_mean > 0
    assert stored[0]["model_hash"] == base.hash and row.engine == "transformers"
    assert 4 < row.bits_per_quantized_weight < 5 < row.bits_per_weight < 16


def test_the_lane_measures_its_artefact_and_not_the_reference(base, tokens):
    exact = measure_lane(Lane("bf16", "bf16", "merged", "transformers"), base, tokens, 0)
    coarse = measure_lane(Lane("rtn", "rtn-w2g128", "merged", "transformers"), base, tokens, 0)
    assert exact.kl_mean == pytest.approx(0, abs=1e-6) and exact.bits_per_weight == 16
    assert coarse.kl_mean > 0.1


def test_what_is_missing_or_broken_is_named_and_the_rest_goes_on(base, monkeypatch, capsys):
    bad = Lane("awq", "awq-w4g128", "gptq", "no-engine")
    missing = Lane("nf4", "nf4", "bitsandbytes", "transformers")
    good = Lane("bf16", "bf16", "merged", "transformers")
    monkeypatch.setattr(measure_lanes, "LANES", (missing, bad, good))
    monkeypatch.setattr(lane_module, "find_spec", lambda name: None)
    monkeypatch.setattr(lane_module, "artefact", lambda *_: 1 / 0)
    skipped = measure_lanes.measure_all(print, items=0)
    assert "bitsandbytes is not installed" in skipped["nf4 in transformers"]
    assert "ZeroDivisionError" in skipped["awq in no-engine"] and len(skipped) == 2
    rows = report.read_rows(measure_lanes.scoreboard_file())
    assert {row["lane"] for row in rows} == {"noise", "bf16"}
    assert "[lane 3/3] bf16 in transformers ... KL" in capsys.readouterr().out


def test_every_lane_has_a_recipe_that_its_format_can_hold():
    from qcourse.recipe import check_engine, named

    assert {lane.engine for lane in LANES} == {"transformers", "vllm", "llama.cpp"}
    for lane in LANES:
        assert named(lane.recipe).name == lane.recipe or lane.recipe == "awq-w4g128"
        check_engine(named(lane.recipe), lane.form, lane.engine)


@pytest.mark.parametrize(
    "lane",
    [Lane("gptq", "gptq-w4g128", "awq", "vllm"), Lane("gguf", "gguf-q8_0", "gguf", "vllm"),
     Lane("gptq", "gptq-w3g128", "gptq", "vllm")],
    ids=["format", "engine", "bits"],
)  # fmt: skip
def test_a_lane_that_no_engine_could_run_would_be_seen(lane):
    from qcourse.recipe import check_engine, named

    with pytest.raises(QCourseError):
        check_engine(named(lane.recipe), lane.form, lane.engine)


def test_a_full_run_never_made_is_none_and_unknown_ones_are_named(base):
    assert library_runs.full_run("llm-compressor GPTQ", base) is None
    with pytest.raises(QCourseError, match="llm-compressor AWQ"):
        library_runs.full_run("HQQ", base)


def test_a_full_run_is_made_once(base, monkeypatch):
    made = []
    monkeypatch.setattr(library_runs, "make", lambda name, base: made.append(name) or {"kl_mean": 0.5})
    first = library_runs.full_run("llm-compressor GPTQ", base, build=True)
    again = library_runs.full_run("llm-compressor GPTQ", base)
    assert first.fresh and not again.fresh and again.value == {"kl_mean": 0.5}
    assert made == ["llm-compressor GPTQ"]


def test_a_library_that_breaks_is_reported(base, monkeypatch, capsys):
    def broken(name, base):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(library_runs, "make", broken)
    require("llmcompressor")
    failed = library_runs.make_all(print)
    assert set(failed) == set(library_runs.RUNS) and "no kernel" in failed["llm-compressor AWQ"]


@pytest.mark.slow
def test_the_libraries_quantize_a_model_in_memory(base, tokens):
    require("llmcompressor")
    from qcourse.lanes import libraries

    windows = calibration.calibration_tokens(base.tokenizer, 2)
    few = {"steps": 2}
    for function, more in ((libraries.llmcompressor_gptq, {}), (libraries.llmcompressor_awq, {}),
                           (libraries.auto_round, few)):  # fmt: skip
        model = models.load().model
        function(model, base.tokenizer, windows, bits=4, **more)
        assert measure.divergence(base.model, model, tokens).kl_mean > 1e-5


@pytest.mark.slow
def test_the_tuned_model_is_trained_once_and_differs(base, monkeypatch):
    monkeypatch.setattr(qlora_model, "STEPS", 2)
    first = qlora_model.tuned(base)
    monkeypatch.setattr(qlora_model, "write", lambda *_: pytest.fail("trained twice"))
    assert qlora_model.tuned(base).hash == first.hash != base.hash


@pytest.mark.slow
@pytest.mark.parametrize("lane", [lane for lane in LANES if lane.name in lane_module.ARCHIVED], ids=str)
def test_an_archived_library_makes_its_artefact_once(lane, base, monkeypatch):
    from qcourse import export

    require(lane.name)
    reference, path = lane_module.reference_and_artefact(lane, base)
    assert reference is base and not (path / "dequantized").exists()
    assert export.read_layers(path).keys() == models.linears(base.model).keys()
    monkeypatch.setattr(peers, "quantize", lambda *_: pytest.fail("made twice"))
    assert lane_module.reference_and_artefact(lane, base)[1] == path


@pytest.mark.slow
@pytest.mark.parametrize("lane", [lane for lane in LANES if lane.engine == "transformers"], ids=str)
def test_every_transformers_lane_runs(lane, base, tokens, monkeypatch):
    require(lane_module.NEEDS.get(lane.form, "transformers").replace("_", "-"), lane.name)
    monkeypatch.setattr(qlora_model, "STEPS", 2)
    row = measure_lane(lane, base, tokens, 0)
    assert row.kl_mean is not None and row.perplexity > 1 and row.decode_tokens_per_second > 0


def test_a_full_run_measures_the_copy_that_the_library_changed(base, monkeypatch):
    from qcourse.lanes import libraries

    def coarse(model, tokenizer, tokens, bits, group_size):
        assert tokens.shape == (library_runs.SEQUENCES, calibration.LENGTH) and (bits, group_size) == (4, 128)
        model.model.norm.weight.data *= 1.5

    monkeypatch.setattr(libraries, "llmcompressor_gptq", coarse)
    before = measure.as_source(base.model).hash
    found = library_runs.make("llm-compressor GPTQ", base)
    assert found["kl_mean"] > 0 and found["bits"] == 4 and found["seconds"] > 0
    assert measure.as_source(base.model).hash == before


def test_lanes_and_the_command_line_accept_each_others_artefacts(base, folder, tmp_path, monkeypatch):
    place, recipe = artefacts.folder_of(named("gptq-w4g128"), "gptq", base), named("gptq-w4g128")
    with pytest.raises(SystemExit) as stop:
        main(["quantize", str(folder), "--method", "gptq", "--output", str(place)])
    assert stop.value.code == 0
    written = {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()}
    stamp = (place / "model.safetensors").stat().st_mtime_ns
    assert artefacts.artefact("gptq-w4", "gptq", base) == place
    assert (place / "model.safetensors").stat().st_mtime_ns == stamp
    (place / "recipe.json").unlink()
    artefacts.artefact("gptq-w4", "gptq", base)
    assert (place / "model.safetensors").stat().st_mtime_ns != stamp
    assert {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()} == written
    text = tmp_path / "other.txt"
    text.write_text("another text to calibrate on, " * 800)
    build(str(folder), recipe, "gptq", place, calibration=Calibration(text))
    stamp = (place / "model.safetensors").stat().st_mtime_ns
    artefacts.artefact("gptq-w4", "gptq", base)
    assert (place / "model.safetensors").stat().st_mtime_ns != stamp


def test_a_slow_run_says_how_long_it_goes_on(monkeypatch):
    monkeypatch.setattr(measure_lanes.time, "perf_counter", lambda: 1000.0)
    assert measure_lanes.left(1000.0 - 300, 4) == f", about {100 / 60 * (len(LANES) - 3):.0f} min left"
    assert measure_lanes.left(1000.0 - 3, 4) == "" and measure_lanes.left(0.0, 1) == ""
