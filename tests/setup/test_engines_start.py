"""Every engine starts: its own interpreter imports it and says its version."""

import subprocess

import pytest

from qcourse.common.engines import ENGINES
from tests.engines import require

MODULES = {
    "transformers": "transformers", "bitsandbytes": "bitsandbytes", "gptqmodel": "gptqmodel", "peft": "peft",
    "compressed-tensors": "compressed_tensors", "llmcompressor": "llmcompressor", "gguf": "gguf",
    "llama.cpp": "llama_cpp", "vllm": "vllm", "autoawq": "awq", "autogptq": "auto_gptq",
}  # fmt: skip


def test_no_engine_is_left_out():
    assert MODULES.keys() == ENGINES.keys()


@pytest.mark.engine
@pytest.mark.parametrize("name", MODULES)
def test_it_is_imported_by_its_own_interpreter(name):
    engine = require(name, lane="start")
    code = f"import {MODULES[name]}; print('imported')"
    done = subprocess.run([engine.python, "-c", code], capture_output=True, text=True, timeout=300)
    assert "imported" in done.stdout, done.stderr[-2000:]
