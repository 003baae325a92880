"""The memory of this process: what it holds, and what it holds for nothing."""

import ctypes


def trim_memory() -> None:
    """Give freed pages back to the system; glibc keeps them until asked, others have no such call."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    import psutil

    return psutil.Process().memory_info().rss
