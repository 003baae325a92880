"""Say what a heavy cell will take, refuse what does not fit, and say afterwards what it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from qcourse.common import QCourseError
from qcourse.common.machine import available_memory


@contextmanager
def budget(what: str, seconds: float, gigabytes: float) -> Iterator[None]:
    """Print the predicted time and memory (GB = 1e9 bytes) of the block, and afterwards what it took.

    Raises QCourseError, before anything runs, when less memory than that is free.
    """
    import psutil

    from qcourse.models.memory import trim_memory

    trim_memory()  # what earlier cells freed is neither this block's nor lost to it
    free = available_memory() / 1e9
    if gigabytes > free:
        raise QCourseError(
            f"{what} needs about {gigabytes:.1f} GB of memory; {free:.1f} GB are free; "
            "close other notebooks (Kernel, Shut Down All) or name a smaller model in QCOURSE_MODEL"
        )
    print(f"{what}: about {seconds:.0f} s and {gigabytes:.1f} GB ({free:.1f} GB free)")
    process, start = psutil.Process(), time.perf_counter()
    before = process.memory_info().rss
    yield
    took = time.perf_counter() - start
    trim_memory()
    grown = (process.memory_info().rss - before) / 1e9
    ratio = took / max(seconds, 1e-9)
    print(f"took {took:.1f} s ({ratio:.1f} x the prediction), memory {grown:+.2f} GB afterwards")
