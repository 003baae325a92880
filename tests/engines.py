"""The only gate between a test and a real engine: `require("vllm")` returns it, skips, or fails.

An engine that is missing skips the test with the command that installs it, unless the
environment variable QCOURSE_REQUIRE (comma-separated names) says that it must be there.
`require_avx512` and `require_vnni` are the same for what vLLM's CPU build computes on some CPUs only.
"""

import os
import platform

import pytest

from qcourse.common.machine import cpu_flags, saturates_int8
from qcourse.serve.vllm_install import find_vllm
from qcourse.setup.engines import ENGINES, Engine, find

current: list[pytest.Item] = []  # the running test, kept by tests/conftest.py


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
        current[-1].user_properties.append(("engine", (lane or "", name)))
    if engine:
        return engine
    reason = f"{name} is not installed; {ENGINES[name][2]} installs it"
    if name in required():
        pytest.fail(f"{reason}, and QCOURSE_REQUIRE asks for it", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def require_avx512(what: str, lane: str | None = None) -> Engine:
    """Return vLLM as `require` does; skip where its CPU build has no AVX-512, which `what` needs.

    No installation mends that, so that QCOURSE_REQUIRE does not make it a failure; the closing table
    counts the test as one that did not run for want of AVX-512.
    """
    return require_kernel("avx512f" in cpu_flags(), f"{what} need", "AVX-512", lane)


def require_vnni(lane: str | None = None) -> Engine:
    """Return vLLM as `require_avx512` does, where sums of int8 products are not cut off."""
    return require_kernel(not saturates_int8(), "int8 activations need", "VNNI", lane)


def require_kernel(there: bool, need: str, feature: str, lane: str | None) -> Engine:
    """Return vLLM, or skip where its CPU build meets a CPU without the feature."""
    engine = require("vllm", lane)
    if not there and find_vllm().cpu:
        if current:
            current[-1].user_properties.append(("lacks", feature))
        pytest.skip(f"{need} {feature} in vLLM's CPU build, which this {platform.machine()} CPU lacks")
    return engine
