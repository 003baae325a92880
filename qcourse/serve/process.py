"""A server process: started in a group of its own, waited for, and ended with all its children."""

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from qcourse.common import QCourseError
from qcourse.serve.logs import cause

WATCHDOG = Path(__file__).with_name("watchdog.py")


class ServerProcess:
    """An engine under the watchdog; `log` holds all that it prints."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.name, self.log = name, log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", str(WATCHDOG), *command],
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                env=environment, cwd=log.parent, start_new_session=True,
            )  # fmt: skip
        atexit.register(self.stop)

    @property
    def running(self) -> bool:
        """Whether the server is there."""
        return self.process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the watchdog, which is also the id of the process group."""
        return self.process.pid

    def wait(self, ready: Callable[[], bool], timeout: float, progress: bool = True) -> None:
        """Return when `ready()` is true; QCourseError, with the log's reason, if it ends or is too slow."""
        from tqdm.auto import tqdm

        start = time.monotonic()
        text = {"desc": f"starting {self.name}", "bar_format": "{desc}: {elapsed}"}
        with tqdm(**text, mininterval=1, miniters=1, disable=not progress, leave=False) as bar:
            while not ready():
                if not self.running:
                    raise QCourseError(
                        f"{self.name} stopped while starting: {cause(self.log)} (log: {self.log})"
                    )
                if time.monotonic() - start > timeout:
                    raise QCourseError(
                        f"{self.name} was not ready after {timeout:.0f} s; its last line is in {self.log}; "
                        "raise timeout= on a slow machine"
                    )
                time.sleep(0.25)
                bar.update()

    def stop(self) -> None:
        """End the server and every process it started; safe to call twice."""
        atexit.unregister(self.stop)
        if self.running:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        with suppress(ProcessLookupError, PermissionError):  # what is left, the watchdog killed
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
