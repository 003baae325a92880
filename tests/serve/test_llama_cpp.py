"""llama.cpp in its own process: exact logits, greedy answers, and clear failures."""

import httpx
import pytest
import torch

from qcourse import measure, serve
from qcourse.common import QCourseError
from qcourse.serve import llama_cpp_server
from tests import engines
from tests.serve.conftest import group_members

LANE = "gguf bf16"


@pytest.mark.engine
def test_logits_are_the_models_own(llama_server, small, tokens):
    engines.require("llama.cpp", LANE)
    found = llama_server.logits(tokens)
    with torch.no_grad():
        expected = small.model(tokens).logits
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()  # bf16 activations inside
    assert measure.divergence(expected, found).kl_mean < 1e-4


def test_each_window_starts_from_an_empty_cache(llama_server, tokens):
    together = llama_server.logits(tokens)
    assert llama_server.logits(tokens[2:3]).equal(together[2:3])


@pytest.mark.slow
@pytest.mark.parametrize("begin", [0, 5, 12])
def test_rows_after_a_prompt_have_the_log_probabilities_of_the_logits(llama_server, tokens, begin):
    ids = tokens[0].tolist()
    start, rows = ids[begin:14], [ids[14:20], ids[30:31], ids[40:44]]
    found = llama_server.log_probabilities(start, rows)
    for row, values in zip(rows, found, strict=True):
        whole = llama_server.logits(torch.tensor([start + row]))[0].double().log_softmax(-1)
        expected = whole[len(start) - 1 : -1].gather(1, torch.tensor(row)[:, None]).squeeze(1)
        assert values == pytest.approx(expected.tolist(), abs=2e-2)  # bf16 products in batches of other sizes


def test_it_is_a_source_for_the_yardstick(llama_server, small, tokens):
    found = measure.divergence(small, llama_server, tokens)
    assert 0 <= found.kl_mean < 1e-4 and found.top1_agreement > 0.95
    times = measure.latency(llama_server, batches=(1,), prompt_tokens=16, new_tokens=4)[0]
    assert times.ttft > 0 and times.tpot > 0 and times.prefill_tokens_per_second > 0


def test_every_token_is_timed_where_it_is_made(llama_server, tokens):
    """Also tokens that end a text or are half a character, which a stream of text passes over."""
    found = llama_server.post("/times", tokens=tokens[0].tolist(), new_tokens=9).json()
    assert len(found) == 9 and sorted(set(found)) == found and found[0] > 0
    two = llama_server.latency(2, 16, 5)
    assert two.ttft > two.tpot > 0 and two.decode_tokens_per_second == pytest.approx(2 / two.tpot)


def test_greedy_answers_are_the_models_own(llama_server, small):
    chats = [[{"role": "user", "content": text}] for text in ("the scale of a group", "round 4 weights")]
    found = llama_server.generate(chats, [6, 9])
    expected = measure.HFSource(small.model, small.tokenizer).generate(chats, [6, 9])
    # The engine leaves out bytes that are no UTF-8, the tokenizer marks them.
    assert found == [text.replace("\ufffd", "") for text in expected]


def test_openai_client_and_stream(llama_server):
    (model,) = llama_server.client.models.list().data
    assert model.id == llama_server.model == "small-bf16"
    options = {"model": model.id, "prompt": "the scale", "max_tokens": 5, "temperature": 0}
    whole = llama_server.client.completions.create(**options).choices[0].text
    stream = llama_server.client.completions.create(**options, stream=True)
    assert "".join(part.choices[0].text for part in stream if part.choices) == whole


def test_a_stream_brings_tokens_while_the_engine_makes_more(llama_server):
    body = {"prompt": "the scale", "max_tokens": 400, "stream": True, "ignore_eos": True}
    key = {"Authorization": f"Bearer {llama_server.api_key}"}
    address = f"{llama_server.url}/v1/completions"
    with httpx.stream("POST", address, json=body, headers=key, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        found = serve.metrics(llama_server.url, llama_server.api_key)
        assert found.value("llamacpp:requests_processing") == 1


def test_the_engines_own_report(llama_server):
    assert llama_server.report.kv_cache_dtype == "f16"


def test_loadtest_counts_every_token(llama_server):
    found = serve.loadtest(
        llama_server.url + "/v1", concurrency=2, n_requests=4, prompt_tokens=5, new_tokens=6,
        api_key=llama_server.api_key,
    )  # fmt: skip
    assert (found.sent, found.succeeded, found.errors) == (4, 4, {}) and found.output_tokens == 24
    assert found.prompt_tokens == 20 and found.ttft["p50"] <= found.ttft["p95"] and found.tpot["mean"] > 0
    assert found.output_tokens_per_second == pytest.approx(24 / found.seconds)


def test_the_same_server_by_its_url(llama_server):
    remote = serve.connect(llama_server.url, api_key=llama_server.api_key)
    chats = [[{"role": "user", "content": "the scale"}]]
    assert remote.generate(chats, [4]) == llama_server.generate(chats, [4])
    with pytest.raises(QCourseError, match="url refused|url gave no|log-probabilities"):
        remote.logits(torch.tensor([[5, 6, 7]]))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/logits", {"tokens": []}),
        ("/logits", {"tokens": [5] * 600}),
        ("/logits", {"tokens": [5, 512]}),
        ("/logits", {"tokens": ["a"]}),
        ("/logits", {}),
        ("/v1/completions", {"prompt": "the " * 2000}),
        ("/nothing", {}),
    ],
)
def test_bad_requests_are_refused_and_harm_nothing(llama_server, path, body):
    key = {"Authorization": f"Bearer {llama_server.api_key}"}
    assert httpx.post(llama_server.url + path, json=body, timeout=60, headers=key).status_code in (400, 404)
    with pytest.raises(QCourseError, match="llama.cpp refused"):
        llama_server.post(path, **body)
    assert llama_server.healthy()


def test_a_quantized_file_is_served_by_a_server_of_its_own(small_gguf, llama_server, tokens, small):
    engines.require("llama.cpp", "gguf Q8_0")
    with serve.llama_cpp(small_gguf / "small-q8.gguf", context=256, threads=1, progress=False) as server:
        group = server.process.pid
        found = measure.divergence(small, server, tokens)
        plain = measure.divergence(small, llama_server, tokens)
    assert plain.kl_mean < found.kl_mean < 0.05
    assert group_members(group) == []


def test_kv_cache_type_changes_logits(small_gguf, llama_server, tokens):
    file = small_gguf / "small-bf16.gguf"
    with serve.llama_cpp(file, "q8_0", context=256, threads=1, progress=False) as server:
        assert server.kv_cache_dtype == "q8_0"
        difference = (server.logits(tokens) - llama_server.logits(tokens)).abs().max()
    assert 0 < difference < 2
    with pytest.raises(QCourseError, match="no KV cache of fp8"):
        serve.llama_cpp(file, "fp8")


def test_a_file_that_is_no_gguf(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"not it")
    with pytest.raises(QCourseError, match="is not a GGUF file"):
        serve.llama_cpp(tmp_path / "x.gguf")
    with pytest.raises(QCourseError, match="cannot be read"):
        serve.llama_cpp(tmp_path / "absent.gguf")


def test_a_gguf_whose_header_is_cut_is_refused_before_anything_starts(small_gguf, tmp_path, monkeypatch):
    monkeypatch.setattr(llama_cpp_server, "ServerProcess", lambda *_: pytest.fail("a server was started"))
    (tmp_path / "cut.gguf").write_bytes((small_gguf / "small-bf16.gguf").read_bytes()[:4000])
    with pytest.raises(QCourseError, match="cut.gguf is damaged"):
        serve.llama_cpp(tmp_path / "cut.gguf", progress=False)


def test_a_missing_engine_names_the_command(small_gguf, monkeypatch):
    monkeypatch.setattr(llama_cpp_server.util, "find_spec", lambda name: None)
    with pytest.raises(QCourseError, match="not installed; `make main`"):
        serve.llama_cpp(small_gguf / "small-bf16.gguf")


def test_a_grammar_lets_only_its_own_texts_through(llama_server):
    body = {"model": llama_server.model, "prompt": "the scale", "max_tokens": 12, "temperature": 0}
    bound = body | {"grammar": 'root ::= "yes" | "no"'}
    assert llama_server.post("/v1/completions", **bound).json()["choices"][0]["text"] in ("yes", "no")
    assert llama_server.post("/v1/completions", **body).json()["choices"][0]["text"] not in ("yes", "no")


@pytest.mark.parametrize("grammar", ["root ::= (((", 'other ::= "a"', "root ::= unknown"])
def test_a_grammar_that_cannot_be_read_is_refused_and_the_server_lives(llama_server, grammar):
    body = {"model": llama_server.model, "prompt": "the scale", "max_tokens": 4, "grammar": grammar}
    with pytest.raises(QCourseError, match="no GBNF with a rule named root"):
        llama_server.post("/v1/completions", **body)
    assert llama_server.healthy()
