"""Engines that no fast test starts otherwise: their own interpreter imports them."""

import subprocess

import pytest

from tests.engines import require

MODULES = {
    "bitsandbytes": "bitsandbytes",
    "gptqmodel": "gptqmodel",
    "compressed-tensors": "compressed_tensors",
    "autoawq": "awq",
    "autogptq": "auto_gptq",
}


@pytest.mark.engine
@pytest.mark.parametrize("name", MODULES)
def test_it_is_imported_by_its_own_interpreter(name):
    engine = require(name, lane="start")
    code = f"import {MODULES[name]}; print('imported')"
    done = subprocess.run([engine.python, "-c", code], capture_output=True, text=True, timeout=300)
    assert "imported" in done.stdout, done.stderr[-2000:]
