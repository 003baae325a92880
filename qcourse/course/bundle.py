"""python -m qcourse.course.bundle: build/bundle, a folder to carry into a room without network.

It holds the wheels that the lessons import (and SmolLM2's), the course as committed with pico inside, the
site, and start.sh, which sets up from these wheels alone and opens JupyterLab.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from qcourse.common import QCourseError, repository, results_folder
from qcourse.course import site
from qcourse.setup.environments import Step, steps

START = """\
#!/bin/sh
# Sets up from the wheels beside this file, without network, and opens JupyterLab: ./start.sh [make's targets]
here=$(cd "$(dirname "$0")" && pwd)
export PIP_NO_INDEX=1 PIP_FIND_LINKS="$here/wheels"
cd "$here/course" && exec make "${@:-lab}"
"""


def bundle() -> Path:
    """Write the bundle anew and return its folder; wheels that are there already are kept.

    Raises QCourseError outside a git checkout and where a wheel that the lessons need cannot be had.
    """
    target = results_folder() / "bundle"
    (target / "wheels").mkdir(parents=True, exist_ok=True)
    copy_course(target / "course")
    for step in (*steps("main"), *steps("smollm2")):
        if step.name != "qcourse":  # installed from the course itself
            gather(step, target / "wheels")
    shutil.rmtree(target / "site", ignore_errors=True)
    shutil.copytree(site.build().parent, target / "site")
    (target / "start.sh").write_text(START, encoding="utf-8")
    (target / "start.sh").chmod(0o755)
    return target


def copy_course(target: Path) -> None:
    """Copy the committed files of the checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository(), capture_output=True, check=False)
    if listed.returncode:
        raise QCourseError(f"{repository()} is no git checkout, so what belongs to it is unknown; clone it")
    shutil.rmtree(target, ignore_errors=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (repository() / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository() / name, target / name)


def gather(step: Step, folder: Path) -> None:
    """Put the wheels of one step of the set-up into `folder`, built here where there is only a source."""
    code = pip_wheel("--wheel-dir", str(folder), "--find-links", str(folder), *step.arguments)
    if code and not step.without:
        raise QCourseError(f"pip ended with code {code} at {step.name!r}; its message is above")
    if code:
        print(f"without {step.without}: its wheel could not be made here", file=sys.stderr)


def pip_wheel(*arguments: str) -> int:
    """Run `pip wheel` and return its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", *arguments], check=False
    ).returncode


if __name__ == "__main__":
    print(bundle())
