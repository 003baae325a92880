"""The cell that prepares a Colab runtime, carried by every lesson.

`python -m qcourse.course.lesson_from_solution` puts it after the title of each solution notebook
that lacks it or has an older one. The work is done by `bootstrap.py colab`, which
leaves Colab's torch alone and makes no virtual environment.
"""

import json
from pathlib import Path

from qcourse.common import atomic_path

TAG = "colab"
CELL = """\
# On Colab this fetches the course and adds what is missing (torch stays). Elsewhere it does nothing.
import importlib.util, os, subprocess, sys

if "google.colab" in sys.modules and importlib.util.find_spec("qcourse") is None:
    if not os.path.isdir("qcourse-course"):
        address = os.environ.get("QCOURSE_REPOSITORY") or input("git address of the course: ")
        subprocess.run(["git", "clone", "--depth", "1", address, "qcourse-course"], check=True)
    subprocess.run([sys.executable, "qcourse-course/qcourse/bootstrap.py", "colab"], check=True)
    sys.path.insert(0, os.path.abspath("qcourse-course"))"""


def with_cell(notebook: dict) -> dict:
    """Return the notebook with the cell after its title, in place of an older one."""
    kept = [cell for cell in notebook["cells"] if TAG not in cell["metadata"].get("tags", [])]
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "id": TAG,
        "metadata": {"tags": [TAG], "jupyter": {"source_hidden": True}},
        "outputs": [],
        "source": CELL.splitlines(keepends=True),
    }
    return {**notebook, "cells": [*kept[:1], cell, *kept[1:]]}


def put(folder: Path) -> None:
    """Rewrite the notebooks of a folder whose cell is missing or old."""
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        text = path.read_text(encoding="utf-8")
        made = json.dumps(with_cell(json.loads(text)), indent=1, ensure_ascii=False) + "\n"
        if made != text:
            with atomic_path(path) as temporary:
                temporary.write_text(made, encoding="utf-8")
