"""How much memory a model takes: its weights, its KV cache, and the peak while a block runs."""

import threading
from typing import Any

import psutil
import torch

from qcourse.models import shape

INTERVAL = 0.01  # seconds between looks at the resident size


def weight_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of all parameters and buffers, memory shared by two names counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({tensor.data_ptr() or id(tensor): tensor.nbytes for tensor in tensors}.values())


def kv_bytes(config: Any, tokens: int) -> int:
    """Return the bytes of keys and values of `tokens` tokens in all layers, 16 bits each (no overhead)."""
    return 2 * shape(config).kv_values(tokens)


class PeakMemory:
    """`with PeakMemory() as peak:` watches resident memory; afterwards `peak.bytes` and `peak.increase`.

    processes: ids to sum over, with their children (default: this process alone). Resident size is read
    every 10 ms, so a shorter spike can be missed. On CUDA, `peak.cuda_bytes` is the allocator's own peak.
    """

    def __init__(self, *processes: int) -> None:
        roots = [psutil.Process(pid) for pid in processes]
        children = [child for root in roots for child in root.children(recursive=True)]
        self.watched = [*roots, *children] or [psutil.Process()]
        self.bytes = self.start = self.cuda_bytes = 0
        self._stop = threading.Event()

    @property
    def increase(self) -> int:
        """Bytes between the start of the block and its peak."""
        return self.bytes - self.start

    def resident(self) -> int:
        """Return the resident bytes of the watched processes now."""
        total = 0
        for process in self.watched:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def __enter__(self) -> "PeakMemory":
        self.start = self.bytes = self.resident()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.bytes = max(self.bytes, self.resident())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.bytes = max(self.bytes, self.resident())
        if torch.cuda.is_available():
            self.cuda_bytes = torch.cuda.max_memory_allocated()
