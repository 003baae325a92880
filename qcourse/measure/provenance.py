"""What a figure was measured with: versions, processor, threads."""

import functools
import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "transformers",
    "numpy",
    "bitsandbytes",
    "compressed-tensors",
    "gptqmodel",
    "llama_cpp_python",
)


@functools.cache
def versions() -> dict[str, str]:
    """Return the installed versions of what computes, with Python's."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def machine() -> str:
    """Return the machine in words: processor (or GPU), cores, system."""
    import torch

    cores = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {cores}"
    return f"{processor()}, {cores}"


def processor() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
