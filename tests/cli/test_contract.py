"""The command line that scripts rely on: its commands, its options, and how it fails."""

import json
import subprocess
import sys

import pytest

from qcourse.cli import app
from qcourse.common import QCourseError

CONTRACT = {
    "doctor": {"--json"},
    "run": {"--only"},
    "quantize": {"--method", "--bits", "--group-size", "--sym", "--no-sym", "--desc-act", "--recipe",
                 "--revision", "--format", "--calibration", "--stream", "--output"},
    "eval": {"--baseline", "--text", "--json"},
    "serve": {"--engine", "--kv-cache-dtype", "--port", "--api-key", "--tensor-parallel"},
    "loadtest": {"--json", "--concurrency", "--rate", "--lengths", "--limit", "--figure", "--api-key"},
    "plan": {"--gpu", "--recipe", "--context", "--batch", "--kv-cache-dtype", "--tensor-parallel", "--json",
             "--workload", "--floor"},
    "claims": {"--recompute", "--json"},
    "sweep": set(),
    "watch": {"--baseline", "--canaries", "--agreement", "--items", "--traffic", "--usual", "--metrics",
              "--every", "--api-key", "--json"},
    "ship": {"--baseline", "--policy", "--report", "--json"},
    "convert": {"--format"},
    "progress": {"--json"},
}  # fmt: skip


def commands():
    """Return the commands by name, as Typer built them."""
    from typer.main import get_command

    return get_command(app).commands


def test_exactly_the_commands_of_the_contract():
    assert set(commands()) == set(CONTRACT)


@pytest.mark.parametrize("name", CONTRACT)
def test_options_of(name):
    options = {text for option in commands()[name].params for text in (*option.opts, *option.secondary_opts)}
    assert CONTRACT[name] <= options


@pytest.mark.parametrize(
    "arguments", [["plan"], ["plan", "pico", "--gpus", "L4"], ["fly"], ["plan", "x", "--batch", "two"]]
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, arguments):
    result = cli(*arguments)
    assert result.code == 2 and result.out == ""
    assert result.err.startswith("error: ") and result.err.count("\n") == 1


def test_help_exits_with_0(cli):
    result = cli("quantize", "--help")
    assert result.code == 0 and "--group-size" in result.out


def test_a_bug_is_one_sentence_and_keeps_its_traceback_for_those_who_ask(cli, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("the moon is full")

    monkeypatch.setattr("qcourse.plan.plan", broken)
    result = cli("plan", "meta-llama/Llama-3.1-8B")
    assert result.code == 1 and "unexpected RuntimeError: the moon is full; QCOURSE_DEBUG=1" in result.err
    monkeypatch.setenv("QCOURSE_DEBUG", "1")
    from qcourse.cli import main

    with pytest.raises(RuntimeError):
        main(["plan", "meta-llama/Llama-3.1-8B"])


def test_an_error_of_many_lines_becomes_one(cli, monkeypatch):
    def refuse(*arguments):
        raise QCourseError("first\n   second")

    monkeypatch.setattr("qcourse.plan.plan", refuse)
    result = cli("plan", "x")
    assert (result.code, result.err) == (1, "error: first second\n")


def test_a_full_disk_is_a_sentence(cli, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qcourse.plan.plan", full)
    assert "No space left on device" in cli("plan", "x").err


def test_the_installed_command_and_the_module_are_the_same():
    command = [sys.executable, "-c", "from qcourse.cli import main; main(['plan', 'nope'])"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (
        done.returncode == 1 and done.stderr.startswith("error: unknown model 'nope'") and done.stdout == ""
    )


def test_json_is_the_whole_of_stdout(cli):
    result = cli("plan", "meta-llama/Llama-2-7b-hf", "--gpu", "A100", "--recipe", "rtn-w4g128-asym", "--json")
    values = json.loads(result.out)
    assert {"weights_bytes", "kv_cache_bytes", "kv_bytes_per_token", "total_bytes", "fits"} <= values.keys()
    assert values["weights_bytes"] == 3_889_307_648
    found = json.loads(cli("doctor", "--json").out)
    assert found["findings"] and "tier" in found


CHATTER = """
import atexit, ctypes, logging, os, sys, warnings
import qcourse.plan
quietly = qcourse.plan.plan

def chatty(*arguments):
    print("banner")
    os.write(1, b"raw")
    ctypes.CDLL(None).printf(b"buffered in C")
    atexit.register(print, "goodbye")
    atexit.register(ctypes.CDLL(None).printf, b"goodbye in C")
    logging.getLogger("torchao").warning("no kernel for a GPU that is not there")
    exec(compile("import warnings; warnings.warn('deprecated', UserWarning)", "bitsandbytes.py", "exec"))
    warnings.warn_explicit("this text looks strange", UserWarning, "build.py", 1, "qcourse.pipeline.build")
    return quietly(*arguments)

qcourse.plan.plan = chatty
from qcourse.cli import main
main()
"""


def chatty_plan(*options):
    """Run `qcourse plan` with a library that prints in every way; return the finished process."""
    command = [sys.executable, "-c", CHATTER, "plan", "meta-llama/Llama-3.1-8B", *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_json_is_the_whole_of_stdout_whatever_a_library_prints():
    done = chatty_plan("--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fits"] in (True, False)
    for printed in ("banner", "raw", "buffered in C", "goodbye"):
        assert printed in done.stderr


def test_warnings_of_libraries_do_not_reach_stderr_and_ours_do():
    found = chatty_plan().stderr
    assert found == "warning: this text looks strange\n"


def test_plan_counts_a_model_as_published_and_shares_it(cli):
    made = json.loads(
        cli("plan", "openai/gpt-oss-20b", "--gpu", "H100", "--tensor-parallel", 2, "--json").out
    )
    assert made["weights_bytes"] < 14e9 and made["device_bytes"] == pytest.approx(made["total_bytes"] / 2)


def test_plan_lists_the_lanes_of_the_device(cli):
    out = cli("plan", "Qwen/Qwen2.5-7B", "--gpu", "T4", "--batch", "4").out
    assert "needs compute capability 8.9; T4 has 7.5" in out and "does not fit beside its KV cache" in out


def test_claims_as_rows(cli):
    rows = json.loads(cli("claims", "--json").out)
    assert rows and {"id", "claim", "tier", "verdict", "figure"} <= rows[0].keys()


def test_run_refuses_a_lesson_that_is_not_there(refused):
    assert "no lesson begins with 77" in refused("run", "--only", "77")


def test_claims_named_are_shown_in_full(cli, refused):
    out = cli("claims", "S1-31", "S3-11").out
    assert out.count("claim      ") == 2 and "S1-31" in out and "published" in out
    assert [row["id"] for row in json.loads(cli("claims", "S3-11", "--json").out)] == ["S3-11"]
    assert "no claim S9 among" in refused("claims", "S9")


def test_recomputing_claims_leaves_stdout_to_the_rows(cli, monkeypatch):
    asked = []
    monkeypatch.setattr("qcourse.course.runner.run", lambda only, lanes: asked.append(only) or print("[1/9]"))
    result = cli("claims", "--recompute")
    assert "S1-10" in result.out and "[1/9]" not in result.out
    assert "04" in str(asked) and len(asked) == 1


def test_a_load_test_is_a_line_a_number_of_clients(cli, monkeypatch, tmp_path):
    from qcourse.serve.load_figures import Answer, summary

    def measured(url, clients, requests, **_):
        answers = [Answer((0.25, 0.2625, 0.275), 3, 8)] * requests
        return summary([*answers, "500: broken"], 2.0, concurrency=clients)

    monkeypatch.setattr("qcourse.serve.loadtest", measured)
    lines = cli("loadtest", "http://127.0.0.1:1", "--figure", tmp_path / "load.svg").out.splitlines()
    assert lines[2].split() == [
        "4",
        "17",
        "1",
        "24.0",
        "-",
        *["0.2500s"] * 3,
        *["0.0125s"] * 6,
        *["0.2750s"] * 3,
    ]
    assert "knee: 16 clients" in lines[4] and lines[5:] == ["failed 1 x 500: broken"] * 3
    assert (tmp_path / "load.svg").read_text().count("<svg") == 1
    assert len(json.loads(cli("loadtest", "http://127.0.0.1:1", "--json").out)) == 3


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--concurrency", "one", "write them as 1,4,16"), ("--limit", "ttft", "write ttft=0.5"),
     ("--limit", "itl=1", "known are ttft"), ("--concurrency", "0", "test nothing"),
     ("--rate", "0", "test nothing")],
)  # fmt: skip
def test_a_load_that_is_none_is_refused(refused, option, value, said):
    assert said in refused("loadtest", "http://127.0.0.1:1", option, value)
