"""What a figure was measured with, or an artefact made with: versions, processor, threads."""

import functools
import os
import platform
from importlib import metadata

from qcourse.common.machine import cpu_name

PACKAGES = (
    "torch", "transformers", "numpy", "safetensors", "bitsandbytes", "compressed-tensors", "gptqmodel",
    "gguf", "llama_cpp_python",
)  # fmt: skip


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


def arithmetic() -> dict[str, str | int]:
    """Return what decides the last digits here: architecture, instruction set, threads."""
    import torch

    return {
        "architecture": platform.machine(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
