"""The doctor's look at GPUs and at the three CUDA versions that are often confused."""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from qcourse.common import machine
from qcourse.common.tables import data_table
from qcourse.doctor.check_result import CheckResult

GIB = 2**30
GPU_NEEDS = data_table("doctor.yaml")["gpu"]  # compute capability: what it opens


def examine_cuda() -> list[CheckResult]:
    """Return findings on GPUs and on the three CUDA versions that are often confused."""
    gpus = machine.gpus()
    if not gpus:
        return [CheckResult("GPU", "NVIDIA GPU", "limited", "none", "tier 0: every lesson runs on the CPU")]
    found = []
    for gpu in gpus:
        opens = [text for needed, text in GPU_NEEDS.items() if float(gpu["capability"]) >= needed]
        found.append(CheckResult("GPU", gpu["name"], "ok", f"compute capability {gpu['capability']}, "
                             f"{gpu['memory_bytes'] / GIB:.0f} GiB", ", ".join(opens)))  # fmt: skip
    driver = searched(["nvidia-smi"], r"CUDA Version:\s*([\d.]+)")
    toolkit = searched(["nvcc", "--version"], r"release ([\d.]+)")
    return [*found, *cuda_versions(driver, torch_cuda(), toolkit)]


def cuda_versions(driver: str | None, torch: str | None, toolkit: str | None) -> list[CheckResult]:
    """Return findings on the driver's, torch's and the toolkit's CUDA version.

    The driver's is the newest that it can run and must not be below torch's; torch brings its own
    libraries; the toolkit (nvcc) matters only for building kernels from source.
    """
    runs = bool(torch and driver and major(torch) <= major(driver))
    why = (
        "this torch has no CUDA in it" if not torch
        else "the driver runs it" if runs
        else f"newer than the driver's {driver}: torch.cuda.is_available() will be False"
    )  # fmt: skip
    return [
        CheckResult("GPU", "driver's CUDA", "ok" if driver else "limited", driver or "?",
                    "the newest it runs"),
        CheckResult("GPU", "torch's CUDA", "ok" if runs else "missing", torch or "none", why,
                    "pip install torch==2.13.0" if not torch else "update the NVIDIA driver"),
        CheckResult("GPU", "toolkit's CUDA", "ok" if toolkit else "limited", toolkit or "none",
                    "only for building kernels from source; wheels bring their own"),
    ]  # fmt: skip


def major(version: str) -> int:
    """Return the first number of a version; CUDA runs any minor version of the driver's major one."""
    return int(version.split(".")[0])


def torch_cuda() -> str | None:
    """Return the CUDA version inside the installed torch, read from its version file without importing it."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text()
    found = re.search(r"^cuda[^=]*= '([\d.]+)'", text, re.MULTILINE)
    return found[1] if found else None


def searched(command: list[str], pattern: str) -> str | None:
    """Return what a pattern finds in a command's output, None if there is no such command."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    found = re.search(pattern, done.stdout)
    return found[1] if found else None
