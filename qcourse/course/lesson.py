"""The first line of every lesson: what this run is made of."""

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from qcourse.common.quiet import quiet

LIBRARIES = ("torch", "transformers", "bitsandbytes", "gptqmodel", "llmcompressor", "llama-cpp-python")


def begin(lesson: str) -> int:
    """Quiet the libraries' notices and print lesson, model, device, date, machine and versions.

    Returns the group size of this lesson's recipes: the largest of 128, 64 and 32 that divides every row of
    the model. It is printed where it is not 128.
    """
    quiet()
    from qcourse.models.load import choose_device
    from qcourse.models.shape import shape
    from qcourse.plan.estimate import fitted
    from qcourse.recipe import named

    name = Path(os.environ.get("QCOURSE_MODEL") or "pico").name
    print(
        f"Lesson {lesson} on {name}, {choose_device()}, {date.today().isoformat()}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {installed(name)}" for name in LIBRARIES))
    size = fitted(named("rtn-w4"), shape(os.environ.get("QCOURSE_MODEL") or "pico")).group_size
    if size != 128:
        print(f"groups of {size}: 128 does not divide a row of {name}")
    return size


def installed(name: str) -> str:
    """Return the version of an installed distribution, or "absent"."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return "absent"
