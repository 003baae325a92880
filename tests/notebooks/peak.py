"""The memory that a lesson takes at its worst moment, vLLM's own processes apart."""

import threading
import time

import psutil

BINDER = 2_000_000_000  # bytes: what a Binder pod gives


class PeakMemory:
    """Watch this process' children in a `with` block; then `bytes` is the largest sum of their memory.

    Pages that processes share are counted once a process, so that the figure errs upwards.
    """

    def __enter__(self) -> "PeakMemory":
        self.bytes, self.running = 0, True
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self) -> None:
        """Add up the memory of all descendants five times a second."""
        while self.running:
            children = psutil.Process().children(recursive=True)
            self.bytes = max(self.bytes, sum(resident(child) for child in children))
            time.sleep(0.2)

    def __exit__(self, *error: object) -> None:
        self.running = False
        self.thread.join()


def resident(process: psutil.Process) -> int:
    """Return a process's resident bytes; 0 for one of the serving environment or one that has ended.

    A fork that has not become its program yet still shows all of its parent's pages: of it, its own count.
    """
    try:
        line = " ".join(process.cmdline())  # vLLM's engine and workers title themselves VLLM::...
        if ".venv-vllm" in line or line.startswith("VLLM::"):
            return 0
        parent = process.parent()
        forked = parent is not None and parent.cmdline() == process.cmdline()
        return process.memory_full_info().uss if forked else process.memory_info().rss
    except psutil.Error:
        return 0
