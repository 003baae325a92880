"""python -m qcourse.course.site: build/site holds README, lessons, claims and an API page for each room.

The sources of the Sphinx build are written to build/site-source. Nothing is fetched, when building or when
reading: lessons are shown as stored, formulas are MathML.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from qcourse.common import QCourseError, repository, results_folder
from qcourse.course import claims

INDEX = """# qcourse
```{toctree}
:maxdepth: 1
README
CONTRIBUTING
CHANGELOG
claims
```
```{toctree}
:caption: Lessons
:maxdepth: 1
:glob:
lessons/*
```
```{toctree}
:caption: Rooms
:maxdepth: 1
:glob:
rooms/*
```
"""
# On a telephone long signatures break, and wide tables scroll by themselves.
STYLE = """\
body { overflow-wrap: break-word; }
span.pre { white-space: normal; }
dt.sig, code.literal, h1, h2, h3 { overflow-wrap: anywhere; }
table.docutils, math[display="block"] { display: block; max-width: 100%; overflow-x: auto; }
table.docutils td { min-width: 4em; vertical-align: top; }
img { max-width: 100%; }
"""
SETTINGS = {
    "project": "qcourse",
    "extensions": ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "qcourse.course.site"],
    "myst_enable_extensions": ["dollarmath"],
    "html_math_renderer": "mathml",
    "html_static_path": ["static"],
    "html_css_files": ["site.css"],
    "default_role": "code",
    "suppress_warnings": ["docutils"],  # docstrings are prose: its lists and hanging lines are no errors
    # Of other environments, found by path, or printing while imported.
    "autodoc_mock_imports": [
        *("auto_gptq", "awq", "gptqmodel", "llama_cpp", "llama_cpp_engine", "ray", "starlette", "vllm")
    ],
}


def setup(app) -> None:
    """Register what Sphinx calls: formulas as MathML, which browsers show by themselves, and prose."""
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-docstring", prose)


def prose(app, what, name, documented, options, lines: list[str]) -> None:
    """Keep bars, such as those of |x|, and underscores at the end of words from being read as markup."""
    lines[:] = [re.sub(r"\||_(?=\W|$)", r"\\\g<0>", line) for line in lines]


def formula(writer, node) -> None:
    """Write one formula as MathML into a page of Sphinx's HTML writer."""
    from docutils import nodes
    from docutils.utils.math.latex2mathml import tex2mathml

    writer.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def room_page(name: str) -> str:
    """Return the reStructuredText of a room's page: its modules, documented by their docstrings."""
    pages = (
        f"{module}\n{'-' * len(module)}\n\n.. automodule:: {module}\n   :members:\n   :ignore-module-all:\n"
        for module in modules(name)
    )
    return "\n".join((f"{name}\n{'=' * len(name)}\n", *pages))


def modules(room: str) -> list[str]:
    """Return the names of a room's modules, those in its folders too, but for the exercises' answers."""
    package = repository() / "qcourse"
    parts = (path.relative_to(package).with_suffix("").parts for path in (package / room).rglob("*.py"))
    shown = (part[:-1] if part[-1] == "__init__" else part for part in parts if "exercises" not in part)
    return sorted(".".join(("qcourse", *part)) for part in shown)


def claims_page() -> str:
    """Return the claims with verdict, reason and figures, and where articles disagree, as Markdown."""
    columns = ("id", "claim", "verdict", "figure", "scope")
    return (
        f"# Claims\n\n{table(map(claims.as_cells, claims.rows()), columns)}\n"
        f"## Where articles contradict each other\n\n"
        f"{table(claims.contradictions(), ('question', 'sides', 'answer'))}"
    )


def table(rows: Iterable[dict[str, object]], columns: tuple[str, ...]) -> str:
    """Return a Markdown table; a cell's lines are kept."""
    lines = [columns, ["---"] * len(columns), *([in_cell(row[name]) for name in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def in_cell(value: object) -> str:
    """Return text for a cell of a Markdown table, in which no character is markup."""
    lines = re.sub(r"([\\`*_{}\[\]<>|$#~])", r"\\\1", str(value)).splitlines()
    return "<br>".join(" ".join(line.split()) for line in lines)


def lesson_pages(folder: Path) -> None:
    """Write every lesson as Markdown, its stored figures beside it; nothing is executed."""
    from nbconvert import MarkdownExporter

    for path in sorted((repository() / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        text, resources = MarkdownExporter().from_filename(str(path))
        (folder / f"{path.stem}.md").write_text(text, encoding="utf-8")
        for name, image in resources["outputs"].items():
            (folder / name).write_bytes(image)


def write_sources(folder: Path) -> None:
    """Write the whole source of the site into `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("rooms", "lessons"):
        (folder / part).mkdir(parents=True)
    for name in ("README", "CONTRIBUTING", "CHANGELOG"):
        text = (repository() / f"{name}.md").read_text(encoding="utf-8")
        text = text.replace("](notebooks/", "](lessons/").replace(".ipynb)", ".md)")
        text = re.sub(r"\]\(qcourse/(\w+)\)", r"](rooms/\1.rst)", text)
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    shutil.copytree(repository() / "data" / "reference", folder / "data" / "reference")
    (folder / "static").mkdir()
    (folder / "static" / "site.css").write_text(STYLE, encoding="utf-8")
    (folder / "index.md").write_text(INDEX, encoding="utf-8")
    (folder / "claims.md").write_text(claims_page(), encoding="utf-8")
    for room in sorted(path.parent.name for path in (repository() / "qcourse").glob("*/__init__.py")):
        (folder / "rooms" / f"{room}.rst").write_text(room_page(room), encoding="utf-8")
    lesson_pages(folder / "lessons")


def build() -> Path:
    """Build the site and return its first page.

    Raises QCourseError, with Sphinx's first warning, for failed imports, dead links and the like.
    """
    source, target = results_folder() / "site-source", results_folder() / "site"
    write_sources(source)
    conf = "".join(f"{name} = {value!r}\n" for name, value in SETTINGS.items())
    (source / "conf.py").write_text(conf, encoding="utf-8")
    # In a process of its own: autodoc imports every module anew and with mocked libraries.
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html", source, target]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if run.returncode:
        lines = re.sub(r"\x1b\[[\d;]*m", "", run.stderr).splitlines() or ["no reason given"]
        raise QCourseError(
            f"Sphinx warns {len(lines)} times of what it built from {source}; first: {lines[0]}"
        )
    return target / "index.html"


if __name__ == "__main__":
    print(build())
