"""What this machine has: memory within the container's limit, CPU features, NVIDIA GPUs. No torch."""

import functools
import platform
import shutil
import subprocess
from pathlib import Path

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

CGROUP_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


def memory_limit(limits: tuple[str, ...] = CGROUP_LIMITS) -> int:
    """Return the bytes of memory that may be used: the machine's, or the container's limit if lower."""
    import psutil

    found = [psutil.virtual_memory().total]
    for path in limits:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # "max" means no limit
            found.append(int(text))
    return min(found)


def available_memory(limits: tuple[str, ...] = CGROUP_LIMITS, used: tuple[str, ...] = CGROUP_USED) -> int:
    """Return the bytes that may still be taken: the machine's, or the container's if that is less."""
    import psutil

    free = psutil.virtual_memory().available
    for largest, taken in zip(limits, used, strict=True):
        try:
            room = int(Path(largest).read_text()) - int(Path(taken).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        free = min(free, max(room, 0))
    return free


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Return the instruction sets that the CPU reports, in Linux' spelling (avx2, avx512f, amx_bf16...)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset(sysctl_flags()) if platform.system() == "Darwin" else frozenset()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.split(":", 1)[1].lower().split())
    return frozenset()


def saturates_int8() -> bool:
    """Return whether int8 products add pairs in 16 bits here, which cut sums off: x86 without VNNI."""
    flags = cpu_flags()
    return "avx2" in flags and not flags & {"avx512_vnni", "avx_vnni"}


def sysctl_flags() -> list[str]:
    """Return the CPU features that macOS reports."""
    command = ["sysctl", "-n", "machdep.cpu.features", "machdep.cpu.leaf7_features"]
    text = subprocess.run(command, capture_output=True, text=True).stdout
    return text.lower().replace(".", "_").split()


def cpu_name() -> str:
    """Return the CPU's model name, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


@functools.cache
def gpus() -> tuple[dict[str, str], ...]:
    """Return name, memory_bytes, capability and driver of each NVIDIA GPU, as nvidia-smi reports them."""
    if not shutil.which("nvidia-smi"):
        return ()
    fields = "name,memory.total,compute_cap,driver_version"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return ()
    rows = [line.split(", ") for line in done.stdout.splitlines() if line.count(", ") == 3]
    return tuple(
        {"name": name, "memory_bytes": int(memory) * 2**20, "capability": capability, "driver": driver}
        for name, memory, capability, driver in rows
    )
