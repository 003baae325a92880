"""Runs a server as its child and ends the whole process group when the caller is gone.

Started by path with any Python; standard library only. The caller holds the other end of our
standard input: when it closes, for whatever reason (exit, exception, SIGKILL), so does the server.
"""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

GRACE = 4.0  # seconds between asking the server to end and ending it


def main(command: list[str]) -> None:
    """Run `command` until it ends by itself, the caller vanishes, or a signal asks us to stop."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, frame: asked.append(got))
    caller = os.getppid()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while child.poll() is None and not asked and os.getppid() == caller:
        if hung_up(timeout=0.2):
            break
    end_group(child)


def hung_up(timeout: float) -> bool:
    """Wait up to `timeout` seconds; return whether the caller closed our standard input."""
    try:
        ready, _, _ = select.select([0], [], [], timeout)
    except InterruptedError:
        return False
    return bool(ready) and os.read(0, 1024) == b""


def end_group(child: subprocess.Popen) -> None:
    """Ask every process of the group to end, then end all that is left, ourselves included.

    A server that ended by itself leaves its exit code; its own children are ended too.
    """
    code = child.poll()
    os.killpg(0, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    if code is not None:
        report(code)
    os.killpg(0, signal.SIGKILL)


def report(code: int) -> None:
    """Write how the server ended as the log's last line; our own end, by SIGKILL, cannot say it."""
    print(f"[the server process ended with code {code}]", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
