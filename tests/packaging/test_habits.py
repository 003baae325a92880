"""Lint, format, types, the pre-commit file and the workflows: what CONTRIBUTING.md promises holds."""

import re
import subprocess
import sys

import pytest
import yaml

from qcourse.common import repository

WORKFLOWS = sorted((repository() / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("tool", ["ruff check qcourse tests", "ruff format --check qcourse tests", "mypy"])
def test_a_tool_is_content(tool):
    command = (sys.executable, "-m", *tool.split())
    done = subprocess.run(command, cwd=repository(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_are_local():
    hooks = yaml.safe_load((repository() / ".pre-commit-config.yaml").read_text())
    assert {entry["repo"] for entry in hooks["repos"]} == {"local"}
    assert {hook["language"] for entry in hooks["repos"] for hook in entry["hooks"]} == {"system"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_commands_that_exist(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    targets = {found[1] for step in steps if (found := re.match(r"make ([\w-]+)$", step.get("run", "")))}
    makefile = (repository() / "Makefile").read_text()
    assert targets and all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_workflows_cover_three_systems_and_say_that_they_are_unrun():
    text = "".join(path.read_text() for path in WORKFLOWS)
    assert all(system in text for system in ("ubuntu-latest", "macos-latest", "setup-wsl"))
    assert "not run so far" in text.splitlines()[0]
    assert ".venv/bin/qcourse eval out --baseline pico" in text
    assert "qcourse eval out --baseline pico" in (repository() / "README.md").read_text()


def test_contributing_names_files_that_exist():
    text = (repository() / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:qcourse|data|tests)/[\w/.]+)`", text)
    assert len(paths) > 8 and all((repository() / path).exists() for path in paths)
