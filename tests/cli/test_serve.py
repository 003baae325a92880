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


def started(command: list) -> tuple[subprocess.Popen, str]:
    """Start `qcourse ...` and return the process and its first line; fails with its error if it ends."""
    code = "from qcourse.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, command)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, line


@pytest.mark.parametrize(("engine", "lane"), [("vllm", "bf16"), ("llama.cpp", "gguf")])
def test_a_served_artefact_is_loaded_and_measured_by_its_url(cli, llama_tied, tmp_path, engine, lane):
    require(engine, lane=lane)
    artefact = llama_tied
    if engine == "llama.cpp":
        artefact = tmp_path / "model.gguf"
        assert cli("quantize", llama_tied, "--method", "gguf-q8_0", "--output", artefact).code == 0
    port = choose_port(None)
    process, line = started(["serve", artefact, "--port", port])
    try:
        assert f"http://127.0.0.1:{port} serves" in line and engine in line
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        rows = json.loads(cli("loadtest", f"http://127.0.0.1:{port}", "--json").out)
        assert [row["concurrency"] for row in rows] == [1, 4, 16]
        assert not [error for row in rows for error in row["errors"]]
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
