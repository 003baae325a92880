"""What goes wrong in production, each with a real engine: one clear sentence, nothing lost, no orphan."""

import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from qcourse import serve
from qcourse.common import QCourseError
from qcourse.serve.llama_cpp_server import LlamaCppServer
from qcourse.serve.ports import choose_port
from qcourse.serve.server import Refused
from tests.serve.conftest import group_members

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture
def gguf(small_gguf):
    """The small model's file."""
    return small_gguf / "small-bf16.gguf"


@contextmanager
def started(gguf, **options):
    """Run a llama.cpp of its own and check that nothing of it is left."""
    with serve.llama_cpp(gguf, context=512, threads=1, progress=False, **options) as server:
        group = server.process.pid
        yield server
    end = time.monotonic() + 60
    while group_members(group):
        assert time.monotonic() < end, "a process outlived its server"
        time.sleep(0.05)


def load(server, clients, requests, **options):
    """Put a load on a server."""
    return serve.loadtest(
        server.url, clients, requests, model=server.model, api_key=server.api_key, **options
    )


def kill(server):
    """End every process of a server at once, as the kernel does when memory runs out."""
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.process.wait(20)


def headers(server):
    """Return the header that carries the server's key."""
    return {"Authorization": f"Bearer {server.api_key}"}


def test_killed_in_the_middle_of_a_load_every_request_is_accounted_for(gguf):
    with started(gguf) as server:
        timer = threading.Timer(2.0, kill, [server])
        timer.start()
        found = load(server, 4, 400, new_tokens=100)
        timer.join()
        assert found.sent == 400 == found.succeeded + found.failed
        assert found.failed == sum(found.errors.values()) > 0 < found.succeeded
        assert set(found.errors) <= {"the stream broke off before its end"} | {
            reason for reason in found.errors if "Error" in reason
        }
        with pytest.raises(QCourseError, match="llama.cpp gave no answer: it stopped: "):
            server.post("/v1/completions", prompt="a", max_tokens=1)
        with pytest.raises(QCourseError, match=r"all 3 requests failed: 3 x ConnectError"):
            load(server, 1, 3)


def test_restarted_on_the_same_port_clients_recover(gguf):
    port, key = choose_port(None), "the same key"
    with started(gguf, port=port, api_key=key) as first:
        client = serve.connect(first.url, api_key=key)
        before = client.post("/v1/completions", prompt="the scale", max_tokens=4, temperature=0).json()
        kill(first)
        with pytest.raises(QCourseError, match="url gave no answer"):
            client.post("/v1/completions", prompt="the scale", max_tokens=4)
    with started(gguf, port=port, api_key=key):
        after = client.post("/v1/completions", prompt="the scale", max_tokens=4, temperature=0).json()
    assert after["choices"] == before["choices"]


def test_two_servers_at_once_have_ports_and_keys_of_their_own(gguf, llama_server):
    with started(gguf) as other:
        assert other.url != llama_server.url and other.api_key != llama_server.api_key
        with pytest.raises(QCourseError, match="wants another API key"):
            serve.connect(other.url, api_key=llama_server.api_key)
        assert load(other, 1, 2).succeeded == load(llama_server, 1, 2).succeeded == 2


def test_a_taken_port_is_a_sentence(gguf, llama_server):
    with pytest.raises(QCourseError, match=f"port {llama_server.port} on 127.0.0.1 is in use"):
        serve.llama_cpp(gguf, port=llama_server.port)


def test_a_prompt_longer_than_the_context(llama_server):
    with pytest.raises(Refused, match=r"refused /v1/completions \(400\): .*(exceed|context)"):
        llama_server.post("/v1/completions", prompt=[300] * 600, max_tokens=4)
    with pytest.raises(QCourseError, match="all 2 requests failed: 2 x 400: .*context"):
        load(llama_server, 1, 2, prompt_tokens=600, warmup=0)
    assert load(llama_server, 1, 1).succeeded == 1


def test_two_hundred_requests_at_once(llama_server):
    found = load(llama_server, 200, 200, prompt_tokens=8, new_tokens=4)
    assert (found.sent, found.succeeded, found.errors) == (200, 200, {})
    assert found.output_tokens == 800


def test_a_client_that_leaves_in_the_middle_frees_the_engine(llama_server):
    body = {
        "model": llama_server.model,
        "prompt": [300] * 4,
        "max_tokens": 500,
        "stream": True,
        "ignore_eos": True,
    }
    address = llama_server.url + "/v1/completions"
    with httpx.stream("POST", address, json=body, headers=headers(llama_server), timeout=60) as answer:
        next(answer.iter_lines())
    end = time.monotonic() + 60
    while serve.metrics(llama_server.url, llama_server.api_key).value("llamacpp:requests_processing"):
        assert time.monotonic() < end, "the engine still works for a client that left"
        time.sleep(0.05)
    assert load(llama_server, 2, 4).failed == 0


@pytest.mark.parametrize("content", [b"{", b"", b"[1]", b'{"prompt": 5}', b'{"max_tokens": 2}', b"\xff"])
def test_malformed_json(llama_server, content):
    answer = httpx.post(
        llama_server.url + "/v1/completions", content=content, headers=headers(llama_server), timeout=60
    )
    assert answer.status_code == 400 and answer.json()["error"]["message"]
    assert llama_server.healthy()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/logits", "/times"])
@pytest.mark.parametrize("key", ["", "wrong", "ü"])
def test_a_wrong_key(llama_server, path, key):
    sent = {"Authorization": f"Bearer {key}".encode()} if key else {}
    body = {"prompt": "a", "tokens": [5], "messages": []}
    assert httpx.post(llama_server.url + path, json=body, headers=sent, timeout=60).status_code == 401
    assert httpx.get(llama_server.url + "/v1/models", headers=sent).status_code == 401
    with pytest.raises(QCourseError, match="wants another API key"):
        serve.loadtest(llama_server.url, api_key="wrong")


def test_a_full_disk_takes_the_log_and_nothing_else(gguf, tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path))
    port = choose_port(None)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"llama-cpp-{port}.log").symlink_to("/dev/full")
    with started(gguf, port=port) as server:
        assert load(server, 2, 4).succeeded == 4
        assert httpx.get(server.url + "/v1/models").status_code == 401
        assert server.log == Path(tmp_path / "logs" / f"llama-cpp-{port}.log")


def test_an_engine_that_starts_too_slowly_is_given_up(gguf, monkeypatch):
    monkeypatch.setattr(LlamaCppServer, "healthy", lambda self: False)
    with pytest.raises(QCourseError, match="llama.cpp was not ready after 0 s; .*raise timeout="):
        serve.llama_cpp(gguf, timeout=0.01, progress=False)


def test_a_damaged_artefact(gguf, tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path))
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:-4000])
    with pytest.raises(QCourseError, match="llama.cpp stopped while starting: .*(load|read|open|corrupt)"):
        serve.llama_cpp(tmp_path / "cut.gguf", progress=False)
