"""One list of versions: pyproject, the locks, environment.yml, binder/ and the Colab cell agree."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement

from qcourse.common import repository
from qcourse.course import colab
from qcourse.setup.environments import ENVIRONMENTS, EXTRAS, SOURCES
from qcourse.setup.locks import asked_for, normal, pins
from qcourse.setup.pins import direct_pins, files

MAIN, EXTRA = pins(ENVIRONMENTS["main"].lock), pins(EXTRAS.lock)
LESSONS = sorted((repository() / "notebooks").rglob("[0-9]*.ipynb"))


def requirements() -> list[Requirement]:
    project = tomllib.loads((repository() / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for names in lists for line in names]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_lock_holds_what_pyproject_asks_for(requirement):
    version = (MAIN | EXTRA)[normal(requirement.name)].split("==")[1]
    assert requirement.specifier.contains(version, prereleases=True)


def test_pyproject_leaves_colabs_torch_alone():
    torch = next(requirement for requirement in requirements() if requirement.name == "torch")
    assert torch.specifier.contains("2.8.0") and torch.specifier.contains(MAIN["torch"].split("==")[1])


@pytest.mark.parametrize("environment", [*ENVIRONMENTS.values(), EXTRAS], ids=lambda env: env.name)
def test_every_line_of_a_lock_is_one_exact_version(environment):
    lines = environment.lock.read_text().splitlines()[1:]
    assert lines and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


def test_the_environments_share_torch():
    assert len({pins(env.lock)["torch"] for env in ENVIRONMENTS.values()}) == 1


def test_extras_change_no_version_of_the_main_lock():
    assert not EXTRA.keys() & MAIN.keys()


@pytest.mark.parametrize("environment", [*ENVIRONMENTS.values(), EXTRAS], ids=lambda env: env.name)
def test_the_installed_environment_is_the_lock(environment):
    """The suite speaks for the lock only if it runs in it."""
    if not environment.stamp.exists():
        pytest.skip(f"{environment.folder} was not made by bootstrap.py")
    code = "import json\nfrom importlib.metadata import distributions as all\n"
    code += "print(json.dumps({each.name: each.version for each in all()}))"
    done = subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True)
    installed = {normal(key): value.split("+")[0] for key, value in json.loads(done.stdout).items()}
    optional = {*SOURCES, "llama-cpp-python"}
    wrong = {
        name: (line, installed.get(name))
        for name, line in pins(environment.lock).items()
        if installed.get(name) != line.split("==")[1] and not (name in optional and name not in installed)
    }
    assert not wrong


@pytest.mark.parametrize("path", files())
def test_derived_files_are_up_to_date(path):
    """python -m qcourse.setup.pins writes them."""
    assert (repository() / path).read_text() == files()[path]
    parsed = yaml.safe_load(files()[path])
    assert "python=3.11" in parsed["dependencies"]
    assert parsed["dependencies"][-1]["pip"] == direct_pins()


def test_what_is_built_from_source_is_left_to_the_script():
    names = {normal(pin.split("==")[0]) for pin in direct_pins()}
    assert not names & {*SOURCES, "llama-cpp-python"}
    assert names < set(asked_for())


def test_binder_runs_our_script_and_not_a_list_of_its_own():
    for name in ("postBuild", "start"):
        script = repository() / "binder" / name
        assert script.stat().st_mode & 0o111
        subprocess.run(["bash", "-n", script], check=True)
        assert "pip install" not in script.read_text() and "==" not in script.read_text()


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_lesson_carries_the_colab_cell(path):
    """python -m qcourse.course.lesson_from_solution puts it there."""
    cells = json.loads(path.read_text())["cells"]
    tagged = [index for index, cell in enumerate(cells) if colab.TAG in cell["metadata"].get("tags", [])]
    assert tagged == [1] and "".join(cells[1]["source"]) == colab.cell(colab.address())


def test_the_colab_cell_does_nothing_elsewhere():
    code = colab.CELL + "\nassert 'qcourse-course' not in ' '.join(sys.path); print('done')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def test_on_colab_torch_is_a_constraint_and_nothing_virtual_is_made(monkeypatch, tmp_path, capsys):
    from qcourse import bootstrap

    calls = []
    monkeypatch.setattr(bootstrap, "repository", lambda: tmp_path)
    monkeypatch.setattr(
        bootstrap.metadata, "version", lambda name: {"torch": "2.8.0+cu126", "numpy": "2.0.2"}[name]
    )
    monkeypatch.setattr(
        bootstrap.subprocess,
        "run",
        lambda command, **_: calls.append(command) or type("R", (), {"returncode": 0}),
    )
    bootstrap.install_beside_colab(dry_run=False)
    command = calls[0]
    constraints = command[command.index("-c") + 1]
    assert open(constraints).read() == "torch==2.8.0\nnumpy==2.0.2\n"
    assert not any(part.startswith("torch") for part in command) and MAIN["bitsandbytes"] in command
    assert len(calls) == 1 and "venv" not in " ".join(command[1:4])


def test_a_changed_version_asks_for_one_restart_and_an_unchanged_one_does_not(monkeypatch, tmp_path, capsys):
    from qcourse import bootstrap

    found = iter([{"torch": "2.8", "peft": "0.17"}, {"torch": "2.8", "peft": "0.21", "gguf": "0.19"}])
    monkeypatch.setattr(bootstrap, "repository", lambda: tmp_path)
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_, **__: type("R", (), {"returncode": 0}))
    monkeypatch.setattr(bootstrap, "installed", lambda: next(found))
    bootstrap.install_beside_colab(dry_run=False)
    assert "changed: peft 0.17 -> 0.21; restart the session once" in capsys.readouterr().out
    monkeypatch.setattr(bootstrap, "installed", lambda: {"torch": "2.8"})
    bootstrap.install_beside_colab(dry_run=False)
    assert "restart" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_colab_cell_prepares_an_environment_that_has_torch_already(tmp_path):
    """No registry, no build environment: whatever pip would have to fetch fails the test."""
    if not (repository() / ".git").exists():
        pytest.skip("the course is no git checkout here, and the cell clones one")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "colab"], check=True)
    own = next((tmp_path / "colab" / "lib").glob("python3*")) / "site-packages"
    (own / "preinstalled.pth").write_text(sysconfig.get_path("purelib"))
    code = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n" + colab.CELL
    code += "\nimport qcourse, torch; print(qcourse.__file__, torch.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "QCOURSE_REPOSITORY": repository().as_uri(), "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"
    }  # fmt: skip
    done = subprocess.run([tmp_path / "colab" / "bin" / "python", "-c", code], cwd=tmp_path,
                          env=environment, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ours, torch = done.stdout.splitlines()[-1].split()
    assert ours.startswith(str(tmp_path / "qcourse-course")) and torch.startswith(
        sysconfig.get_path("purelib")
    )
    assert not list(own.glob("torch*")) and list(own.glob("*qcourse*")) and "restart" not in done.stdout
    constraints = (tmp_path / "qcourse-course" / "build" / "colab-constraints.txt").read_text()
    assert f"torch=={metadata.version('torch').split('+')[0]}\n" in constraints
