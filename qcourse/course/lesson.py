"""The first line of every lesson: what this run is made of."""

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from qcourse.common.quiet import quiet

LIBRARIES = ("torch", "transformers", "bitsandbytes", "gptqmodel", "llmcompressor", "llama-cpp-python")


def begin(lesson: str) -> None:
    """Quiet the libraries' notices and print lesson, model, device, date, machine and versions."""
    quiet()
    from qcourse.models.load import choose_device

    name = Path(os.environ.get("QCOURSE_MODEL") or "pico").name
    print(
        f"Lesson {lesson} on {name}, {choose_device()}, {date.today().isoformat()}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {installed(name)}" for name in LIBRARIES))


def installed(name: str) -> str:
    """Return the version of an installed distribution, or "absent"."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return "absent"
