"""The memory of this process: what it holds, and what it holds for nothing."""

import ctypes
import sys


def trim_memory() -> None:
    """Give freed pages back to the system; glibc keeps them until asked, others have no such call."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass


def give_memory_back(bytes_: int = 2**20) -> None:
    """Let the C library return freed blocks of this size to the system at once, from here on.

    glibc otherwise keeps freed blocks of up to 32 MB, scattered, for later: a fifth of a streamed run's peak.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(-3, bytes_)  # M_MMAP_THRESHOLD


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    import psutil

    return psutil.Process().memory_info().rss
