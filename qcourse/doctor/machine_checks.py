"""The doctor's single looks: platform, CPU, memory, disk, engines, tier, lessons."""

import os
import platform
import shutil
import sys

from qcourse.common import machine, repository
from qcourse.common.places import existing
from qcourse.common.tables import data_table
from qcourse.doctor.check_result import CheckResult
from qcourse.setup import ENGINES, ENVIRONMENTS, find
from qcourse.setup.environments import compiler

GIB = 2**30
CPU_NEEDS, LESSON_ENGINES = (data_table("doctor.yaml")[name] for name in ("cpu", "lessons"))


def examine_platform() -> list[CheckResult]:
    """Return findings on the operating system and Python."""
    system = platform.system()
    wsl = "microsoft" in platform.release().lower()
    known = system in ("Linux", "Darwin")
    version, tested = platform.python_version(), sys.version_info[:2] == (3, 11)
    name = f"{system}{' (WSL2)' if wsl else ''} {platform.machine()}"
    return [
        CheckResult("system", "platform", "ok" if known else "missing", name,
                    "" if known else "not supported",
                    "wsl --install, then clone and run everything inside it", essential=True),
        CheckResult("system", "Python", "ok" if tested else "limited", version,
                    "" if tested else "the lock was tested on 3.11", "python3.11 qcourse/bootstrap.py main"),
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
    state, means = "ok" if free > need + 1 else "limited", f"environments still to set up take {need:.1f} GB"
    return [CheckResult("disk", "free", state, f"{free:.0f} GB", means)]


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
