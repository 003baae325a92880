"""What a figure was measured with: versions, processor, threads."""

import functools
import os
import platform
from importlib import metadata

from qcourse.common.machine import cpu_name

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
    return f"{cpu_name()}, {cores}"
