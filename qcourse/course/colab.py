"""Opening a lesson elsewhere: the cell that prepares a Colab runtime, and the links to Colab and Binder.

All come from one address, `address` under [tool.qcourse] in pyproject.toml, set by whoever publishes the
course: `python -m qcourse.course.lesson_from_solution` then writes it into cells, lessons' heads and README.
Without one there are no links, and the cell asks. The work is done by `bootstrap.py colab`, which leaves
Colab's torch alone and makes no virtual environment.
"""

import json
import re
import tomllib
from pathlib import Path
from urllib.parse import quote

from qcourse.common import atomic_path, repository

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


ASK = 'input("git address of the course: ")'
LINKS = re.compile(r"\n*^Open it in \[.*\n?", re.MULTILINE)


def address() -> str:
    """Return the configured address of the published course without .git, or ""."""
    settings = tomllib.loads((repository() / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["qcourse"]["address"].rstrip("/").removesuffix(".git")


def cell(address: str) -> str:
    """Return the code of the cell for a course at this address; for "" it asks for one."""
    return CELL.replace(ASK, json.dumps(address)) if address else CELL


def links(address: str, notebook: str) -> str:
    """Return one line of links that open a notebook (its path in the course) elsewhere, or "".

    Binder takes any git address, Colab those of GitHub.
    """
    if not address:
        return ""
    on_github = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)", address)
    source = f"gh/{on_github[1]}" if on_github else f"git/{quote(address, safe='')}"
    binder = f"[Binder](https://mybinder.org/v2/{source}/HEAD?labpath={quote(notebook, safe='')})"
    if not on_github:
        return f"Open it in {binder}."
    colab = f"https://colab.research.google.com/github/{on_github[1]}/blob/main/{notebook}"
    return f"Open it in [Colab]({colab}) or {binder}."


def with_links(text: str, line: str) -> str:
    """Return Markdown with the line of links as a paragraph after its title, in place of an older one."""
    title, _, rest = LINKS.sub("\n", text).partition("\n")
    return f"{title}\n{line}\n\n{rest.lstrip()}" if line else f"{title}\n{rest}" if rest else title


def with_cell(notebook: dict, address: str = "", path: str = "") -> dict:
    """Return the notebook with the cell after its title, and links in it, in place of older ones."""
    tagged = [cell for cell in notebook["cells"] if TAG in cell["metadata"].get("tags", [])]
    kept = [cell for cell in notebook["cells"] if cell not in tagged]
    counts = [cell["execution_count"] for cell in tagged] or [None]
    made = {
        "cell_type": "code",
        "execution_count": counts[0],
        "id": TAG,
        "metadata": {"tags": [TAG], "jupyter": {"source_hidden": True}},
        "outputs": [],
        "source": cell(address).splitlines(keepends=True),
    }
    title = "".join(kept[0]["source"])
    if LINKS.search(title) or address:
        kept[0] = {**kept[0], "source": with_links(title, links(address, path)).splitlines(keepends=True)}
    return {**notebook, "cells": [*kept[:1], made, *kept[1:]]}


def put(folder: Path, address: str = "") -> None:
    """Rewrite the solution notebooks of a folder whose cell or links are missing or old."""
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        text = path.read_text(encoding="utf-8")
        notebook = with_cell(json.loads(text), address, f"notebooks/{path.name}")
        made = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if made != text:
            with atomic_path(path) as temporary:
                temporary.write_text(made, encoding="utf-8")


def put_into_readme(file: Path, address: str) -> None:
    """Rewrite the README whose line of links is missing or old."""
    text = file.read_text(encoding="utf-8")
    line = links(address, "notebooks/00_setup.ipynb")
    if (line or LINKS.search(text)) and (made := with_links(text, line)) != text:
        with atomic_path(file) as temporary:
            temporary.write_text(made, encoding="utf-8")
