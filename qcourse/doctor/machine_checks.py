"""The doctor's single looks: platform, CPU, memory, disk, engines, tier, lessons."""

import os
import platform
import shutil
import sys

from qcourse.common import machine, repository
from qcourse.common.places import existing
from qcourse.doctor.check_result import CheckResult
from qcourse.setup import ENGINES, ENVIRONMENTS, find
from qcourse.setup.environments import compiler

GIB = 2**30
CPU_NEEDS = {  # feature: (Linux flags any of which shows it, what it gives, what lacks without it)
    "AVX2": (("avx2", "asimd"), "bitsandbytes and llama.cpp at full speed", "bitsandbytes may not start"),
    "AVX-512": (("avx512f",), "vLLM's 4-bit and FP8-cache kernels on the CPU",
                "4-bit files and an FP8 cache cannot run in vLLM here; other engines show them"),
    "bf16 arithmetic": (("avx512_bf16", "amx_bf16", "bf16"), "bf16 products several times faster than fp32",
                        "bf16 is computed by conversion: lessons take two to four times longer"),
}  # fmt: skip
LESSON_ENGINES = {
    "03": ("bitsandbytes",), "04": ("bitsandbytes",), "05": ("bitsandbytes", "peft"),
    "06": ("gptqmodel", "vllm"),
    "07": ("vllm",), "08": ("compressed-tensors",), "09": ("vllm",), "10": ("llama.cpp",),
}  # fmt: skip


def examine_platform() -> list[CheckResult]:
    """Return findings on the operating system and Python."""
    system = platform.system()
    wsl = "microsoft" in platform.release().lower()
    known = system in ("Linux", "Darwin")
    version = ".".join(map(str, sys.version_info[:3]))
    name = f"{system}{' (WSL2)' if wsl else ''} {platform.machine()}"
    return [
        CheckResult("system", "platform", "ok" if known else "missing", name,
                    "" if known else "not supported",
                    "wsl --install, then clone and run everything inside it", essential=True),
        CheckResult("system", "Python", "ok" if sys.version_info[:2] == (3, 11) else "limited", version,
                "" if sys.version_info[:2] == (3, 11) else "the lock was tested on 3.11",
                "python3.11 qcourse/bootstrap.py main"),
        CheckResult("system", "C++ compiler", *compiler_state()),
    ]  # fmt: skip


def compiler_state() -> tuple[str, str, str, str]:
    """Return state, value, meaning and mend of the C++ compiler."""
    if found := compiler():
        return "ok", found, "", ""
    mac = platform.system() == "Darwin"
    mend = "xcode-select --install" if mac else "apt-get install g++, then make main"
    return "limited", "none", "GPTQModel and llama.cpp cannot be built", mend


def examine_cpu() -> list[CheckResult]:
    """Return findings on the CPU: its name and the features that engines ask for."""
    flags = machine.cpu_flags()
    found = [CheckResult("CPU", "model", "ok", f"{machine.cpu_name()}, {usable_cores()} cores usable")]
    for name, (wanted, gives, without) in CPU_NEEDS.items():
        there = bool(flags & set(wanted))
        found.append(CheckResult("CPU", name, "ok" if there else "limited", "yes" if there else "no",
                             gives if there else without))  # fmt: skip
    return found


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def examine_memory() -> list[CheckResult]:
    """Return the finding on memory: the machine's or, in a container, its limit."""
    limit = machine.memory_limit()
    if limit >= 8e9:
        state, means = "ok", ""
    elif limit >= 1.9e9:
        state, means = "limited", "every lesson on pico but the vLLM parts, which take about 3 GB"
    else:
        state, means = "missing", "lessons need 2 GB"
    return [CheckResult("memory", "usable", state, f"{limit / 1e9:.1f} GB", means, essential=True)]


def examine_disk() -> list[CheckResult]:
    """Return the finding on free disk beside the environments."""
    need = sum(env.disk for env in ENVIRONMENTS.values() if not env.python.exists())
    free = shutil.disk_usage(existing(repository())).free / 1e9
    state = "ok" if free > need + 1 else "limited"
    return [
        CheckResult(
            "disk", "free", state, f"{free:.0f} GB", f"environments still to set up take {need:.1f} GB"
        )
    ]


def examine_engines() -> list[CheckResult]:
    """Return one finding an engine: version and environment, or the command that installs it."""
    found = []
    for name, (environment, _, command) in ENGINES.items():
        engine = find(name)
        found.append(CheckResult("engines", name, "ok" if engine else "missing",
                             f"{engine.version}, {environment} environment" if engine else "not installed",
                             mend=command, essential=name == "transformers"))  # fmt: skip
    return found


def tier() -> tuple[int, str]:
    """Return the tier of this machine and why."""
    gpus = machine.gpus()
    memory = max((gpu["memory_bytes"] for gpu in gpus), default=0) / GIB
    if not gpus:
        return 0, "no NVIDIA GPU: pico on the CPU, offline"
    if memory >= 23:
        return 2, f"a GPU of {memory:.0f} GiB: 7B to 8B models"
    return 1, f"a GPU of {memory:.0f} GiB: 0.5B to 1.5B models"


def lessons(engines: list[CheckResult]) -> dict[str, str]:
    """Return the lessons of notebooks/ with the engines that each lacks here, "" for none."""
    missing = {finding.name for finding in engines if finding.state == "missing"}
    names = sorted(path.stem for path in (repository() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return {name: lack(set(LESSON_ENGINES.get(name[:2], ())) & missing) for name in names}


def lack(engines: set[str]) -> str:
    """Return what a lesson shows from stored figures because engines are missing."""
    return f"without {', '.join(sorted(engines))}: those parts are skipped and say so" if engines else ""
