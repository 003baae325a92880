"""Parsing, machine checks, load-test arithmetic and drift, without any engine."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest

from qcourse import serve
from qcourse.common import QCourseError
from qcourse.serve import vllm_install
from qcourse.serve.engine_report import EngineReport, check_kv_cache, check_vllm, llama_report, vllm_report
from qcourse.serve.load_figures import Answer, knee, summary
from qcourse.serve.loadtest import arrivals, random_prompt, read_lengths
from qcourse.serve.metrics import parse as parse_page
from qcourse.serve.vllm_install import VLLM, check_machine, check_recipe, weight_kind
from qcourse.serve.vllm_logits import from_page, parse

CPU = VLLM("python", "0", cpu=True)
GPU = VLLM("python", "0", cpu=False)
W4 = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
FP8 = {
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}, "input_activations": {}}},
    }
}
W8A8 = {
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "config_groups": {
            "g": {"weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8}}
        },
    }
}


def answer(table: np.ndarray, texts: list[str]) -> bytes:
    """Return what vLLM sends for a table of log-probabilities: in falling order, the first position null."""
    rows = [
        {str(i): {"logprob": float(row[i]), "rank": 1, "decoded_token": texts[i]} for i in np.argsort(-row)}
        for row in table
    ]
    body = {"usage": {"prompt_tokens": 3}, "prompt_logprobs": [None, *rows], "choices": []}
    return json.dumps(body, separators=(",", ":")).encode()


def test_log_probabilities_survive_the_text_exactly():
    table = np.random.default_rng(0).normal(-9, 4, (5, 7)).astype(np.float32)
    table[0, 0], table[1, 1], table[2, 2] = -9999, -0.0, -1e-7
    tricky = ['"3":{"logprob":-1.5', "}", '\\"4\\":{', "12", "é", "\n", ""]
    assert np.array_equal(parse(answer(table, tricky), 5, 7), table)


def test_missing_entries_are_noticed():
    table = np.zeros((2, 4), dtype=np.float32)
    with pytest.raises(QCourseError, match="sent 8 log-probabilities, not 2 x 5"):
        parse(answer(table, list("abcd")), 2, 5)
    twice = answer(table, list("abcd")).replace(b'"3":', b'"2":')
    with pytest.raises(QCourseError, match="twice"):
        parse(twice, 2, 4)


@pytest.mark.parametrize("sent", [np.zeros(9, np.float32), np.array([[0, np.nan, 1, 2]] * 3, np.float32)])
def test_a_page_that_lacks_numbers_is_noticed(sent):
    answer = SimpleNamespace(content=sent.tobytes())
    server = SimpleNamespace(post=lambda *_, **__: answer, model="model", vocabulary=4)
    with pytest.raises(QCourseError, match="not 3 x 4"):
        from_page(server, [1, 2, 3, 3])


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, "plain"),
        (W4, "4-bit integer"),
        ({"quantization_config": {"quant_method": "awq", "w_bit": 3}}, "3-bit integer"),
        (FP8, "8-bit float (compressed-tensors)"),
        (W8A8, "int8 with int8 activations"),
    ],
)
def test_kind_of_weights(config, kind):
    assert weight_kind(config) == kind


def test_a_cpu_without_avx512_is_refused_where_it_would_crash(monkeypatch):
    monkeypatch.setattr(vllm_install, "cpu_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(QCourseError, match="4-bit weights and an FP8 KV cache .* need AVX-512"):
        check_machine(W4, "fp8", CPU)
    check_machine({}, "auto", CPU)
    check_machine(W4, "fp8", GPU)
    monkeypatch.setattr(vllm_install, "cpu_flags", lambda: frozenset({"avx512f"}))
    check_machine(W4, "fp8", CPU)


def test_a_cpu_whose_int8_sums_are_cut_off_is_refused(monkeypatch):
    monkeypatch.setattr("qcourse.common.machine.cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    with pytest.raises(QCourseError, match="int8 activations .* need VNNI"):
        check_machine(W8A8, "auto", CPU)
    check_machine(W8A8, "auto", GPU)
    for flag in ("avx512_vnni", "avx_vnni"):
        monkeypatch.setattr("qcourse.common.machine.cpu_flags", lambda: frozenset({"avx2", flag}))  # noqa: B023
        check_machine(W8A8, "auto", CPU)


@pytest.mark.parametrize("config", [FP8, {"quantization_config": {"quant_method": "gptq", "bits": 3}}])
def test_weights_without_a_cpu_kernel_are_refused(config):
    with pytest.raises(QCourseError, match="CPU build has kernels for 4-bit"):
        check_machine(config, "auto", CPU)
    check_machine(config, "auto", GPU)


def test_the_compatibility_table_is_asked(tmp_path):
    from qcourse.recipe import named
    from qcourse.recipe.record import new_record, write_record

    write_record(tmp_path, new_record(named("gptq-w3g128"), "gptq", {}))
    with pytest.raises(QCourseError, match="vllm cannot load gptq-w3g128 as gptq"):
        check_recipe(tmp_path)
    values = json.loads((tmp_path / "recipe.json").read_text())
    values["recipe"]["bit"] = 3
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    with pytest.raises(QCourseError, match="unknown fields: bit; known are method"):
        check_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")  # of another program
    check_recipe(tmp_path)


def test_vllm_that_is_not_installed_names_the_command(monkeypatch, tmp_path):
    vllm_install.find_vllm.cache_clear()
    monkeypatch.setattr("qcourse.setup.environments.repository", lambda: tmp_path)
    monkeypatch.setattr(vllm_install.util, "find_spec", lambda name: None)
    try:
        with pytest.raises(QCourseError, match="install it with `make serving`"):
            serve.find_vllm()
    finally:
        vllm_install.find_vllm.cache_clear()


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(QCourseError, match="has no config.json"):
        serve.vllm(tmp_path)


def test_metrics_page():
    text = (
        "# TYPE vllm:cache_config info\n"
        'vllm:cache_config_info{cache_dtype="fp8",num_gpu_blocks="16384"} 1.0\n'
        "# TYPE vllm:ttft_seconds histogram\n"
        'vllm:ttft_seconds_bucket{le="+Inf"} 4\nvllm:ttft_seconds_sum 2.0\nvllm:ttft_seconds_count 4\n'
    )
    found = parse_page(text)
    assert found.labels("vllm:cache_config_info")["num_gpu_blocks"] == "16384"
    assert found.mean("vllm:ttft_seconds") == 0.5
    for ask in (found.value, found.labels):
        with pytest.raises(QCourseError, match="reports no nothing"):
            ask("nothing")
    with pytest.raises(QCourseError, match="no Prometheus text"):
        parse_page("<html>\n")


def test_an_address_without_server():
    for ask in (serve.metrics, serve.loadtest):
        with pytest.raises(QCourseError, match="127.0.0.1:9"):
            ask("http://127.0.0.1:9")
    with pytest.raises(QCourseError, match="test nothing"):
        serve.loadtest("http://127.0.0.1:9", n_requests=0)


def timeline(ttft: float, gap: float, tokens: int = 11, prompt: int = 5) -> Answer:
    """Return an answer whose tokens come at even gaps."""
    return Answer(tuple(ttft + gap * i for i in range(tokens)), tokens, prompt)


def test_figures_of_a_load_test():
    answers = [timeline(0.1 * n, 0.01) for n in range(1, 5)]
    found = summary([*answers, "500: broken", "500: broken"], 2.0, concurrency=4)
    assert (found.sent, found.succeeded, found.failed) == (6, 4, 2)
    assert found.errors == {"500: broken": 2}
    assert found.output_tokens == 44 and found.output_tokens_per_second == 22 and found.prompt_tokens == 20
    assert list(found.ttft.values()) == pytest.approx([0.25, 0.25, 0.385, 0.397])  # mean, p50, p95, p99
    assert list(found.e2e.values()) == pytest.approx([0.35, 0.35, 0.485, 0.497])
    for even in (found.tpot, found.itl):
        assert list(even.values()) == pytest.approx([0.01] * 4)
    assert found.goodput is None and json.loads(json.dumps(found.asdict()))["requests_per_second"] == 2


def test_the_gap_between_tokens_and_the_time_per_token_differ_where_a_stream_stalls():
    found = summary([Answer((1.0, 1.1, 1.2, 2.0), 4, 1)], 2.0)
    assert found.tpot["p50"] == pytest.approx(1 / 3) and found.itl["p50"] == pytest.approx(0.1)
    assert found.itl["p99"] == pytest.approx(0.1 + 0.98 * 0.7)
    assert summary([timeline(1, 1, tokens=1)], 2.0).tpot == {}


def test_goodput_counts_what_keeps_every_limit():
    answers = [timeline(0.1, 0.01), timeline(0.6, 0.01), timeline(0.1, 0.2), timeline(0.5, 0.01)]
    assert summary(answers, 2.0, limits={"ttft": 0.5}).goodput == 1.5
    assert summary(answers, 2.0, limits={"ttft": 0.5, "tpot": 0.1}).goodput == 1.0
    assert summary(answers, 2.0, limits={"e2e": 0.1}).goodput == 0
    with pytest.raises(QCourseError, match="no limit can be set on itl; known are ttft"):
        serve.loadtest("http://127.0.0.1:9", limits={"itl": 1})


def test_a_run_without_answers_counts_the_reasons():
    with pytest.raises(QCourseError, match="all 3 requests failed: 2 x 500: broken; 1 x ReadTimeout"):
        summary(["500: broken", "ReadTimeout", "500: broken"], 1.0, concurrency=1)


def test_the_knee_is_where_more_clients_only_queue():
    rows = [
        summary([timeline(1, 0.1)] * n, 1.0, concurrency=c) for c, n in ((1, 2), (4, 6), (8, 10), (16, 11))
    ]
    assert knee(rows).concurrency == 8


def test_prompts_are_fresh_and_lengths_exact():
    chooser = random.Random(0)
    prompts = [random_prompt(20, chooser) for _ in range(200)]
    assert len({tuple(prompt[:16]) for prompt in prompts}) == 200
    assert {len(prompt) for prompt in prompts} == {20} and max(map(max, prompts)) < 512


def test_an_open_loop_sends_at_the_times_of_a_poisson_process():
    times = np.diff(arrivals(4001, 5.0, random.Random(0)))
    assert times.mean() == pytest.approx(0.2, rel=0.05) and times.std() == pytest.approx(0.2, rel=0.05)
    assert arrivals(3, None, random.Random(0)) == [0, 0, 0]


def test_lengths_from_a_file(tmp_path):
    file = tmp_path / "lengths.jsonl"
    file.write_text(
        '{"prompt_tokens": 300, "output_tokens": 80}\n\n{"prompt_tokens": 20, "output_tokens": 5}\n'
    )
    assert read_lengths(file) == [(300, 80), (20, 5)]
    for text in ("", "300 80", '{"prompt_tokens": 3}', '{"prompt_tokens": 0, "output_tokens": 5}', "[1]"):
        file.write_text(text)
        with pytest.raises(QCourseError, match="must hold"):
            read_lengths(file)


CONFIGURED = "(EngineCore pid=9) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: "


def report_of(tmp_path, *lines: str) -> EngineReport:
    """Return the report that a log of vLLM with these lines holds."""
    (tmp_path / "vllm.log").write_text("\n".join(lines))
    return vllm_report(tmp_path / "vllm.log")


def test_vllms_report_of_itself(tmp_path):
    found = report_of(
        tmp_path,
        CONFIGURED
        + "model='/x', quantization=gptq, quantization_config=None, kv_cache_dtype=fp8, device=cpu",
        "INFO [auto_gptq.py:352] Using CPUWNA16LinearKernel for AutoGPTQLinearMethod",
    )
    assert found == EngineReport("gptq", ("CPUWNA16LinearKernel",), "fp8", unit_scales=False)
    check_vllm(found, W4, weight_kind(W4))
    assert report_of(tmp_path, "nothing") == EngineReport()


def test_what_the_engine_does_not_run_is_refused(tmp_path):
    plain = report_of(tmp_path, CONFIGURED + "quantization=None, kv_cache_dtype=auto")
    check_vllm(plain, {}, "plain")
    with pytest.raises(QCourseError, match="4-bit integer weights and vLLM reports no quantization"):
        check_vllm(plain, W4, weight_kind(W4))
    emulated = report_of(tmp_path, "Using EmulationNvFp4LinearKernel for NVFP4 GEMM")
    with pytest.raises(QCourseError, match="computes in 16 bits by EmulationNvFp4LinearKernel"):
        check_vllm(emulated, {}, "4-bit float")
    unit = report_of(tmp_path, "Using KV cache scaling factor 1.0 for fp8_e4m3. If this is unintended")
    check_vllm(unit, {}, "plain")  # a cache without stored scales
    with pytest.raises(QCourseError, match="holds scales of the KV cache and vLLM reports scales of 1.0"):
        check_vllm(unit, {"quantization_config": {"kv_cache_scheme": {"num_bits": 8}}}, "plain")


def test_a_kv_cache_other_than_the_asked_is_refused(tmp_path):
    log = tmp_path / "llama.log"
    log.write_text("llama_kv_cache: size = 6 MiB (2048 cells), K (f16): 3 MiB, V (q8_0): 3 MiB\n")
    assert llama_report(log).kv_cache_dtype == "f16/q8_0"
    for asked, found in (("auto", "f16"), ("fp8_e4m3", "fp8"), ("q8_0", "q8_0"), ("q8_0", "")):
        check_kv_cache("an engine", asked, found)
    with pytest.raises(QCourseError, match="reports a KV cache of auto, not the asked fp8"):
        check_kv_cache("vLLM", "fp8", "auto")


def traffic(drawn, shares, requests=200):
    """Return requests of 60 token ids each, drawn with the given shares."""
    return [drawn.choice(len(shares), 60, p=shares) for _ in range(requests)]


def test_drift_is_seen_and_ordinary_variety_is_not():
    drawn = np.random.default_rng(0)
    usual = np.full(40, 1 / 40)
    monitor = serve.DriftMonitor(traffic(drawn, usual), 40, window=50)
    assert monitor.observe(traffic(drawn, usual, 49)) is None
    alarms = [monitor.observe(traffic(drawn, usual, 50)).drifted for _ in range(20)]
    assert sum(alarms) <= 3
    shifted = np.array([1.5] * 20 + [0.5] * 20) / 40
    report = monitor.observe(traffic(drawn, shifted, 50))
    assert report.drifted and "DRIFT" in str(report) and report.distance < np.log(2)


def test_a_window_of_the_reference_itself_is_near_however_few_its_tokens():
    """Most of a large vocabulary never occurs: no count may be invented for it."""
    draw = np.random.default_rng(0)
    usual = [list(draw.integers(0, 30, 10)) for _ in range(200)]
    for start in range(0, 200, 50):
        report = serve.DriftMonitor(usual, 50_000, window=50).observe(usual[start : start + 50])
        assert not report.drifted, str(report)


def test_drift_needs_enough_reference():
    with pytest.raises(QCourseError, match="too few for a window of 50"):
        serve.DriftMonitor([[1, 2]] * 60, 10, window=50)


def test_the_options_of_an_adapter(tmp_path):
    from qcourse.serve.vllm_adapter import adapter_options

    assert adapter_options(None) == []
    settings = tmp_path / "adapter_config.json"
    settings.write_text('{"r": 48}')
    assert adapter_options(tmp_path)[-2:] == ["--max-lora-rank", "64"]
    for text in ('{"r": 500}', "{}", "no JSON"):
        settings.write_text(text)
        with pytest.raises(QCourseError, match="no LoRA adapter"):
            adapter_options(tmp_path)
