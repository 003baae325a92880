"""The watcher itself: it sees a child's memory, and leaves out what it says it leaves out."""

import subprocess
import sys

from tests.notebooks.peak import PeakMemory

HOLD = "import time; block = b'x' * 300_000_000; print('held', flush=True); time.sleep(30)"


def child(*extra: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, *extra], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def watched(process: subprocess.Popen) -> int:
    with PeakMemory() as peak, process:
        import time

        time.sleep(1)
        process.kill()
    return peak.bytes


def test_a_childs_memory_is_seen():
    assert 300_000_000 < watched(child()) < 600_000_000


def test_the_serving_environment_is_left_out():
    assert watched(child("/somewhere/.venv-vllm/bin/python")) < 300_000_000
