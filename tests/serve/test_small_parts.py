"""Parsing, machine checks, load-test arithmetic and drift, without any engine."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from qcourse import serve
from qcourse.common import QCourseError
from qcourse.serve import vllm_install
from qcourse.serve.loadtest import Answer, random_prompts, summary
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


def test_figures_of_a_load_test():
    answers = [Answer(0.1 * n, 0.1 * n + 0.9, 10, 5) for n in range(1, 5)]
    found = summary([*answers, "500: broken"], 4, 2.0)
    assert found.output_tokens == 40 and found.output_tokens_per_second == 20
    assert found.tpot["mean"] == pytest.approx(0.1) and found.ttft["p50"] == pytest.approx(0.25)
    assert found.errors == ["500: broken"] and found.requests == 5
    assert json.loads(json.dumps(found.asdict()))["requests_per_second"] == 2
    with pytest.raises(QCourseError, match="all 1 requests failed, the first with: 500: broken"):
        summary(["500: broken"], 1, 1.0)


def test_random_prompts_begin_differently():
    prompts = random_prompts(50, 20, seed=0)
    assert len({" ".join(prompt.split()[:4]) for prompt in prompts}) == 50


def traffic(random, shares, requests=200):
    """Return requests of 60 token ids each, drawn with the given shares."""
    return [random.choice(len(shares), 60, p=shares) for _ in range(requests)]


def test_drift_is_seen_and_ordinary_variety_is_not():
    random = np.random.default_rng(0)
    usual = np.full(40, 1 / 40)
    monitor = serve.DriftMonitor(traffic(random, usual), 40, window=50)
    assert monitor.observe(traffic(random, usual, 49)) is None
    alarms = [monitor.observe(traffic(random, usual, 50)).drifted for _ in range(20)]
    assert sum(alarms) <= 3
    shifted = np.array([1.5] * 20 + [0.5] * 20) / 40
    report = monitor.observe(traffic(random, shifted, 50))
    assert report.drifted and "DRIFT" in str(report) and report.distance < np.log(2)


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
