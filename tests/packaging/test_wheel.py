"""The package as a wheel: built from a copy of the checkout, installed apart, used far from the checkout."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

import qcourse
from qcourse.common import places, repository
from qcourse.setup.locks import asked_for, normal

# What a command imports only where an engine, a GPU or the serving environment has brought it.
BROUGHT = {"auto_gptq", "awq", "datasets", "llama_cpp", "loguru", "starlette", "torchao", "vllm"}
DISTRIBUTION = {"yaml": "pyyaml", "IPython": "ipython"}
EXTRAS = (
    "bitsandbytes", "compressed_tensors", "datasets", "gguf", "gptqmodel", "llama_cpp", "llmcompressor",
    "optimum", "peft",
)  # fmt: skip
COMMANDS = {
    "plan": ("plan", "meta-llama/Llama-3.1-8B", "--gpu", "L4"),
    "claims": ("claims",),
    "doctor": ("doctor",),
    "quantize": ("quantize", "pico", "--method", "rtn", "--output", "out"),
    "eval": ("eval", "pico", "--items", "2", "--windows", "2"),
}


def imported() -> set[str]:
    names = set()
    for path in (repository() / "qcourse").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                if not (path.parent / f"{node.module}.py").exists():  # a program's own file beside it
                    names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"qcourse"}


def test_whatever_is_imported_is_declared():
    missing = {
        name for name in imported() - BROUGHT if normal(DISTRIBUTION.get(name, name)) not in asked_for()
    }
    assert not missing


def test_the_version_stands_once():
    project = tomllib.loads((repository() / "pyproject.toml").read_text())
    assert "version" not in project["project"] and qcourse.__version__
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "qcourse.__version__"}


def test_without_a_checkout_results_go_to_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "__file__", str(tmp_path / "site-packages/qcourse/common/places.py"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("QCOURSE_HOME", "QCOURSE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    assert places.results_folder() == tmp_path / "home" / "qcourse" / "build"
    assert places.home_folder() == tmp_path / "home" / "qcourse" / "work"
    assert places.data_folder() == tmp_path / "site-packages" / "qcourse" / "data"
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "mine"))
    assert places.results_folder() == tmp_path / "mine" / "build"


def make_wheel(folder, source):
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run((*pip, "-w", str(folder), str(source)), check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(repository() / name, folder / "source")
    for name in ("qcourse", "data"):
        shutil.copytree(
            repository() / name,
            folder / "source" / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return make_wheel(folder, folder / "source")


@pytest.mark.slow
def test_a_source_distribution_gives_the_same_wheel(wheel, tmp_path):
    build = "import sys, setuptools.build_meta as back; back.build_sdist(sys.argv[1])"
    source = wheel.parent / "source"
    subprocess.run((sys.executable, "-c", build, str(tmp_path)), cwd=source, check=True, capture_output=True)
    again = make_wheel(tmp_path, next(tmp_path.glob("*.tar.gz")))
    first, second = (
        {
            item.filename: item.CRC
            for item in zipfile.ZipFile(path).infolist()
            if "dist-info" not in item.filename
        }
        for path in (wheel, again)
    )
    assert first == second and again.name == wheel.name


@pytest.mark.slow
def test_the_wheel_carries_every_file_of_the_data(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("qcourse/data/")}
    files = (path for path in (repository() / "data").rglob("*") if path.is_file())
    assert held == {f"qcourse/{path.relative_to(repository())}" for path in files}


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory):
    """Return a function that runs an installed qcourse, which sees no library of the extras."""
    folder = tmp_path_factory.mktemp("elsewhere")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target")
    subprocess.run((*pip, str(folder / "installed"), str(wheel)), check=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "QCOURSE"))}
    # -S keeps the .pth of an editable install out.
    paths = os.pathsep.join((str(folder / "installed"), sysconfig.get_path("purelib")))
    environment = kept | {"HOME": str(folder / "home"), "PYTHONPATH": paths}
    (folder / "home").mkdir()
    start = (
        f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS}))\nimport qcourse\n"
        f"assert qcourse.__file__.startswith({str(folder)!r})\n"
        f"assert {str(repository())!r} not in sys.path\n"
        "from qcourse.cli import main\nmain()"
    )

    def run(*arguments):
        return subprocess.run(
            (sys.executable, "-S", "-c", start, *arguments),
            cwd=folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    run.folder = folder
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_an_installed_wheel_runs(command, name):
    done = command(*COMMANDS[name])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and str(repository()) not in done.stdout + done.stderr
    assert not (command.folder / "installed" / "build").exists()
