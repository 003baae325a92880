"""vLLM over HTTP: exact log-probabilities, its own report of the KV cache, clean ends."""

import socket

import httpx
import pytest
import torch

from qcourse import measure, serve
from qcourse.common import QCourseError
from qcourse.serve.vllm_bench import bench_serve, side_by_side
from tests import engines
from tests.serve.conftest import group_members


@pytest.mark.slow
@pytest.mark.engine
def test_log_probabilities_are_the_models_own(vllm_server, small, tokens):
    engines.require("vllm", "bf16")
    found = vllm_server.logits(tokens)
    with torch.no_grad():
        expected = small.model(tokens).logits
    assert found.shape == expected.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(tokens.shape), atol=1e-3, rtol=0)
    divergence = measure.divergence(expected, found)
    assert 0 < divergence.kl_mean < 5e-3 and divergence.top1_agreement > 0.9
    shifted = measure.divergence(expected[:, 1:], found[:, :-1])
    assert shifted.kl_mean > 100 * divergence.kl_mean  # the control: one position off


@pytest.mark.slow
@pytest.mark.engine
def test_rows_after_a_prompt_have_the_log_probabilities_of_the_logits(vllm_server, tokens):
    ids = tokens[0].tolist()
    start, rows = ids[:14], [ids[14:20], ids[20:21], ids[20:24]]
    found = vllm_server.log_probabilities(start, rows)
    for row, values in zip(rows, found, strict=True):
        whole = vllm_server.logits(torch.tensor([start + row]))[0].double()
        expected = whole[len(start) - 1 : -1].gather(1, torch.tensor(row)[:, None]).squeeze(1)
        assert values == pytest.approx(expected.tolist(), abs=2e-2)  # bf16 products in batches of other sizes


@pytest.mark.slow
def test_it_is_a_source_for_the_yardstick(vllm_server, small, tokens):
    row = measure.evaluate(
        vllm_server,
        small,
        tokens,
        config=measure.EvaluationConfig(prompt_tokens=16, new_tokens=4),
        progress=False,
    )
    assert row.engine == "vllm" and row.versions["vllm"] and row.kl_mean < 5e-3
    assert row.ttft > 0 and row.decode_tokens_per_second > 0 and row.peak_memory_bytes > 10**8


@pytest.mark.slow
def test_greedy_answers_over_chat(vllm_server, small):
    chats = [[{"role": "user", "content": text}] for text in ("the scale of a group", "round 4 weights")]
    found = vllm_server.generate(chats, [6, 9])
    expected = measure.HFSource(small.model, small.tokenizer).generate(chats, [6, 9])
    assert [text[:4] for text in found] == [text[:4] for text in expected]


@pytest.mark.slow
def test_client_load_test_and_metrics_agree(vllm_server):
    made = "vllm:generation_tokens_total"
    before = serve.metrics(vllm_server.url).value(made)
    found = serve.loadtest(vllm_server.url, concurrency=3, n_requests=6, prompt_tokens=8, new_tokens=5,
                           warmup=0, api_key=vllm_server.api_key)  # fmt: skip
    assert found.errors == {} and found.output_tokens == 30 and found.prompt_tokens == 6 * 8
    assert serve.metrics(vllm_server.url).value(made) - before == 30
    assert vllm_server.client.models.list().data[0].id == vllm_server.model


@pytest.mark.slow
def test_the_same_server_by_its_url(vllm_server, tokens):
    """A URL gives the numbers as vLLM's own text: to the last bit those of the page that we add."""
    remote = serve.connect(vllm_server.url + "/v1", api_key=vllm_server.api_key)
    assert remote.logits(tokens).equal(vllm_server.logits(tokens))
    chats = [[{"role": "user", "content": "the scale"}]]
    assert remote.generate(chats, [4]) == vllm_server.generate(chats, [4])
    remote.stop()
    assert vllm_server.healthy()


@pytest.mark.slow
def test_fp8_kv_cache_is_real(vllm_server, small_folder, tokens):
    engines.require_avx512("kernels of an FP8 KV cache", "fp8 KV cache")
    with serve.vllm(small_folder, "fp8", threads=1, progress=False) as server:
        group = server.process.pid
        assert server.kv_cache_dtype == "fp8" and vllm_server.kv_cache_dtype == "auto"
        assert server.kv_blocks == pytest.approx(2 * vllm_server.kv_blocks, rel=0.02)
        found = measure.divergence(vllm_server.logits(tokens), server.logits(tokens))
    assert 1e-6 < found.kl_mean < 0.5
    assert group_members(group) == []


@pytest.mark.slow
def test_requests_that_do_not_fit_are_refused(vllm_server):
    with pytest.raises(QCourseError, match="vllm refused"):
        vllm_server.logits(torch.full((1, 3000), 5))
    assert vllm_server.healthy()


@pytest.mark.slow
def test_an_engine_that_dies_gives_its_reason_and_leaves_nothing(small_folder, tmp_path, monkeypatch):
    engines.require("vllm")
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path))
    with pytest.raises(QCourseError, match="vLLM stopped while starting: .*[Mm]ax"):
        serve.vllm(small_folder, max_model_len=100_000, progress=False)


def test_a_taken_port(small_folder):
    engines.require("vllm")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(QCourseError, match="in use"):
            serve.vllm(small_folder, port=holder.getsockname()[1])


@pytest.mark.slow
def test_a_wrong_key_opens_neither_vllms_pages_nor_ours(vllm_server):
    for path, body in (("/v1/completions", {"model": vllm_server.model, "prompt": "a", "max_tokens": 1}),
                       ("/log_probabilities", {"model": vllm_server.model, "tokens": [5, 6]})):  # fmt: skip
        for sent in ({}, {"Authorization": "Bearer wrong"}):
            answer = httpx.post(vllm_server.url + path, json=body, headers=sent, timeout=60)
            assert answer.status_code == 401
        assert vllm_server.post(path, **body).status_code == 200
    with pytest.raises(QCourseError, match="wants another API key"):
        serve.connect(vllm_server.url, api_key="wrong")
    assert vllm_server.client.models.list().data[0].id == vllm_server.path.name == vllm_server.model


@pytest.mark.slow
def test_the_engines_own_report(vllm_server):
    found = vllm_server.report
    assert (found.quantization, found.kv_cache_dtype, found.unit_scales) == ("None", "auto", False)


@pytest.mark.slow
def test_an_unquantized_report_of_a_quantized_checkpoint_is_refused(vllm_server, monkeypatch):
    monkeypatch.setattr("qcourse.serve.vllm_server.weight_kind", lambda config: "4-bit integer")
    with pytest.raises(QCourseError, match="vLLM reports no quantization"):
        vllm_server.check_report()


@pytest.mark.slow
def test_our_load_test_beside_vllms_own(vllm_server):
    found = side_by_side(vllm_server, 2, 8, prompt_tokens=16, new_tokens=8)
    assert list(found) == ["output tokens/s", "median TTFT, ms", "median TPOT, ms", "median ITL, ms"]
    assert all(ours > 0 < theirs for ours, theirs in found.values())
    theirs = bench_serve(vllm_server, 1, 3, 16, 8)
    assert (theirs["completed"], theirs["total_output_tokens"]) == (3, 24)


@pytest.mark.slow
def test_vllms_load_test_that_fails_says_why(vllm_server, monkeypatch):
    monkeypatch.setattr(vllm_server, "api_key", "wrong")
    with pytest.raises(QCourseError, match="vllm bench serve"):
        bench_serve(vllm_server, 1, 2, 8, 4)
