"""serve, loadtest and eval of a URL: one server, started and ended as a user does it."""

import json
import signal
import subprocess
import sys

import psutil
import pytest

from qcourse.serve.ports import choose_port
from tests.engines import require

pytestmark = pytest.mark.slow


def started(command: list) -> tuple[subprocess.Popen, str, str]:
    """Start `qcourse serve`; return the process, its line and the key; fails with its error if it ends."""
    code = "from qcourse.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, command)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    said = iter(process.stderr.readline, "")
    key = next(text for text in said if text.startswith("API key: ")).split()[-1]
    return process, line, key


@pytest.mark.parametrize(("engine", "lane"), [("vllm", "bf16"), ("llama.cpp", "gguf")])
def test_a_served_artefact_is_loaded_and_measured_by_its_url(
    cli, llama_tied, tmp_path, monkeypatch, engine, lane
):
    require(engine, lane=lane)
    artefact = llama_tied
    if engine == "llama.cpp":
        artefact = tmp_path / "model.gguf"
        assert cli("quantize", llama_tied, "--method", "gguf-q8_0", "--output", artefact).code == 0
    port = choose_port(None)
    process, line, key = started(["serve", artefact, "--port", port])
    try:
        assert f"http://127.0.0.1:{port} serves" in line and engine in line
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        url = f"http://127.0.0.1:{port}"
        assert "wants another API key (401)" in cli("loadtest", url).err
        assert cli("loadtest", url, "--api-key", "wrong").code == 1
        monkeypatch.setenv("QCOURSE_API_KEY", key)
        rows = json.loads(cli("loadtest", url, "--requests", 8, "--new-tokens", 8, "--json").out)
        assert [row["concurrency"] for row in rows] == [1, 4, 16]
        assert [(row["sent"], row["succeeded"], row["errors"]) for row in rows] == [(8, 8, {})] * 3
        rate = json.loads(
            cli("loadtest", url, "--rate", "20", "--requests", 8, "--limit", "e2e=60", "--json").out
        )
        assert rate[0]["rate"] == 20 and rate[0]["goodput"] == pytest.approx(rate[0]["requests_per_second"])
        if engine == "vllm":
            text = tmp_path / "text.txt"
            text.write_text("The scale of a group is the largest weight divided by the levels. " * 100)
            options = (
                "--baseline",
                llama_tied,
                "--text",
                text,
                "--items",
                0,
                "--windows",
                1,
                "--context",
                128,
                "--json",
            )
            found = cli("eval", f"http://127.0.0.1:{port}", *options)
            assert found.code == 0, found.err
            assert json.loads(found.out)["kl_mean"] < 1e-2
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    gone, alive = psutil.wait_procs(
        [psutil.Process(p.pid) for p in family if psutil.pid_exists(p.pid)], timeout=20
    )
    assert not alive, "the engine outlived the command"
    assert choose_port(port) == port
