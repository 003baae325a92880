"""The engine gate and the closing table, judged by sessions of pytest inside the test."""

import pytest

from qcourse.setup import engines as table
from tests import engines, lane_table

pytest_plugins = ["pytester"]
SESSION = """
import pytest
from tests.engines import require

def test_runs():
    require("transformers", lane="bf16")

def test_is_missing():
    require("vllm", lane="gptq w4g128")

@pytest.mark.slow
def test_is_slow():
    require("transformers", lane="bf16")
    assert False
"""
LACKING = """
from pathlib import Path
import pytest
from qcourse.serve.vllm_install import VLLM
from tests import engines

@pytest.mark.parametrize("cpu", [True, False])
@pytest.mark.parametrize("flags", [{"avx2"}, {"avx2", "avx512f"}])
def test_four_bit(flags, cpu, monkeypatch):
    monkeypatch.setattr(engines, "find", lambda name: engines.Engine(name, Path(), "1"))
    monkeypatch.setattr(engines, "find_vllm", lambda: VLLM(Path(), "1", cpu))
    monkeypatch.setattr(engines, "cpu_flags", lambda: frozenset(flags))
    engines.require_avx512("4-bit weights", lane="gptq w4g128")
"""


@pytest.fixture
def session(pytester, monkeypatch):
    """Return a function that runs a test file, SESSION, with our hooks on a machine without vLLM."""
    from qcourse.common import repository

    source = (repository() / "tests" / "session_hooks.py").read_text()
    without = "\nengines.find = lambda name, real=engines.find: None if name == 'vllm' else real(name)\n"
    pytester.makeconftest(source + without)
    pytester.makeini("[pytest]\nmarkers =\n    slow: slow")
    monkeypatch.setenv("PYTHONPATH", str(repository()))

    def run(text=SESSION):
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider")

    return run


def test_a_missing_engine_is_skipped_with_the_command_and_the_table_tells(session, monkeypatch):
    monkeypatch.delenv("QCOURSE_REQUIRE", raising=False)
    result = session()
    result.assert_outcomes(passed=1, failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["vllm * not installed *0 tests ran", "bf16 *1 FAILED, 1 ran*", "gptq w4g128*1 skipped*"]
    )
    assert " in " in result.stdout.lines[-1] and "1 passed" in result.stdout.lines[-1]


def test_a_missing_engine_fails_where_it_is_required(session, monkeypatch):
    monkeypatch.setenv("QCOURSE_REQUIRE", "transformers,vllm")
    result = session()
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*QCOURSE_REQUIRE asks for it*"])


def test_what_the_cpu_lacks_is_not_run_and_the_table_says_so(session, monkeypatch):
    """Not even where vLLM is required; with the flag, or on a build for GPUs, it runs."""
    monkeypatch.setenv("QCOURSE_REQUIRE", "vllm")
    result = session(LACKING)
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["gptq w4g128*3 ran, 1 NOT RUN (no AVX-512)*"])


def test_a_misspelt_requirement_stops_the_session(session, monkeypatch):
    monkeypatch.setenv("QCOURSE_REQUIRE", "vlmm")
    result = session()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*names unknown engines: vlmm*"])


def test_engines_are_found_where_they_are_installed():
    assert engines.find("transformers").version == __import__("transformers").__version__
    assert set(engines.ENGINES) == set(table.ENGINES)


def test_the_gravest_outcome_counts():
    report = type("Report", (), {})
    reports = []
    for outcome in ("passed", "failed"):
        made = report()
        made.user_properties, made.nodeid, made.outcome = (
            [("engine", ("", "vllm"))],
            "tests/interop/test_a.py::b",
            outcome,
        )
        reports.append(made)
    assert lane_table.collect(reports) == {("interop", "vllm"): {"failed": 1}}
