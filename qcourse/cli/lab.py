"""python -m qcourse.cli.lab: JupyterLab on the learner's own copies of the lessons."""

import os
import shutil
import sys
from pathlib import Path

from qcourse.common import QCourseError, atomic_path, home_folder, repository


def prepare() -> Path:
    """Copy the lessons that the learner's folder lacks; return the folder. Nothing there is overwritten."""
    home = home_folder()
    try:
        home.mkdir(parents=True, exist_ok=True)
        for lesson in sorted((repository() / "notebooks").glob("*.ipynb")):
            if not (home / lesson.name).exists():
                with atomic_path(home / lesson.name) as temporary:
                    shutil.copyfile(lesson, temporary)
    except OSError as error:
        raise QCourseError(
            f"{home} cannot be written ({error.strerror}); set QCOURSE_HOME to a folder of yours"
        ) from error
    return home


def main() -> None:
    """Prepare the folder and become JupyterLab, with the arguments given."""
    try:
        home = prepare()
    except QCourseError as error:
        sys.exit(f"error: {error}")
    print(f"your copies: {home}", flush=True)
    os.environ["QCOURSE_HOME"] = str(home)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", f"--notebook-dir={home}", *sys.argv[1:]])


if __name__ == "__main__":
    main()
