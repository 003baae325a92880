"""No orphan survives: not an exit, an exception, Ctrl-C, a killed caller, or a killed watchdog."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from qcourse.common import QCourseError, repository
from qcourse.serve.logs import cause
from qcourse.serve.ports import choose_port
from qcourse.serve.process import ServerProcess
from tests.serve.conftest import group_members

# A server with a child of its own that ignores a polite end, as engines' workers do.
STUBBORN = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', "
    '\'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print("child", flush=True); '
    "time.sleep(600)']); print('parent', flush=True); time.sleep(600)",
]


def wait_for(condition, seconds=60):
    """Return once `condition()` is true; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def started(tmp_path):
    """Return a running server whose child has printed its line."""
    process = ServerProcess("stub", STUBBORN, dict(os.environ), tmp_path / "stub.log")
    process.wait(lambda: "child" in process.log.read_text(), 60, progress=False)
    assert len(group_members(process.pid)) == 3  # watchdog, server, its child
    return process


def test_stop_ends_children_that_ignore_a_polite_end(tmp_path):
    process = started(tmp_path)
    process.stop()
    assert group_members(process.pid) == []
    process.stop()  # twice does no harm


def test_killing_the_watchdog_leaves_nothing_after_stop(tmp_path):
    process = started(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.stop()
    wait_for(lambda: group_members(process.pid) == [])


CALLER = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    from qcourse.serve.process import ServerProcess
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell hands down "ignored"
    process = ServerProcess("stub", eval(sys.argv[1]), dict(os.environ), Path(sys.argv[2]))
    process.wait(lambda: "child" in process.log.read_text(), 60, progress=False)
    print(process.pid, flush=True)
    if sys.argv[3] == "raise":
        raise RuntimeError("the lesson failed")
    time.sleep(600)
""")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, "raise"])
def test_the_server_ends_with_its_caller(tmp_path, end):
    command = [sys.executable, "-c", CALLER, repr(STUBBORN), str(tmp_path / "stub.log"), str(end)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=repository()
    ) as caller:
        group = int(caller.stdout.readline())
        if end != "raise":
            assert group_members(group)
            caller.send_signal(end)
        caller.wait(60)
    wait_for(lambda: group_members(group) == [])


def test_a_server_that_dies_while_starting_says_why(tmp_path):
    script = "print('loading'); raise ValueError('no such kernel')"
    process = ServerProcess("stub", [sys.executable, "-c", script], dict(os.environ), tmp_path / "stub.log")
    with pytest.raises(
        QCourseError, match=r"stub stopped while starting: ValueError: no such kernel \(log: "
    ):
        process.wait(lambda: False, 60, progress=False)
    process.stop()


def test_a_crash_by_signal_is_named(tmp_path):
    script = "import os; os.kill(os.getpid(), 11)"
    process = ServerProcess("stub", [sys.executable, "-c", script], dict(os.environ), tmp_path / "stub.log")
    with pytest.raises(QCourseError, match="ended with code -11"):
        process.wait(lambda: False, 60, progress=False)
    process.stop()


def test_a_server_that_is_never_ready_is_given_up(tmp_path):
    process = ServerProcess("stub", STUBBORN, dict(os.environ), tmp_path / "stub.log")
    with pytest.raises(QCourseError, match="not ready after 1 s"):
        process.wait(lambda: False, 1, progress=False)
    process.stop()
    assert group_members(process.pid) == []


def test_cause_passes_over_lines_that_point_elsewhere(tmp_path):
    log = tmp_path / "engine.log"
    log.write_text(
        "(APIServer pid=1) INFO 11-21 02:43:20 [api.py:1] starting\n"
        "(Worker pid=3) ERROR 11-21 02:43:21 [core.py:9] ValueError: group 100 does not divide 172\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert cause(log) == "ValueError: group 100 does not divide 172"
    assert cause(Path(tmp_path / "absent.log")) == "it printed nothing"


def test_cause_takes_the_reasons_that_follow_a_colon(tmp_path):
    log = tmp_path / "server.log"
    log.write_text("ValueError: no kernel. Reasons: \n A: bits\n B: rows of 144\nTraceback (most recent)\n")
    assert cause(log) == "ValueError: no kernel. Reasons: A: bits; B: rows of 144"


def test_port_in_use_is_one_sentence():
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(QCourseError, match=f"port {port} on 127.0.0.1 is in use"):
            choose_port(port)
    assert choose_port(port) == port
    assert choose_port(None) > 0
    with pytest.raises(QCourseError, match="is no port"):
        choose_port(70000)
