"""python -m qcourse.cli.lab: JupyterLab on the learner's own copies of the lessons."""

import os
import sys
from pathlib import Path

import nbformat

from qcourse.common import QCourseError, atomic_path, data_folder, home_folder, repository
from qcourse.course.stored_outputs import cleared


def prepare() -> Path:
    """Copy the lessons that the learner's folder lacks; return the folder. Nothing there is overwritten.

    The copies hold no outputs: a prediction is made before its result is seen.
    """
    home = home_folder()
    try:
        home.mkdir(parents=True, exist_ok=True)
        for lesson in sorted((repository() / "notebooks").glob("*.ipynb")):
            if not (home / lesson.name).exists():
                with atomic_path(home / lesson.name) as temporary:
                    nbformat.write(cleared(nbformat.read(lesson, as_version=4)), temporary)
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
    print(f"your copies: {home}\nyour predictions and passed exercises: qcourse progress", flush=True)
    os.environ["QCOURSE_HOME"] = str(home)
    # without JupyterLab's question about its news, which covers the first lesson
    configs = [str(data_folder() / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, configs))
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", f"--notebook-dir={home}", *sys.argv[1:]])


if __name__ == "__main__":
    main()
