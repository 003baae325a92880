"""python -m qcourse.course.site: build/site holds README, lessons, claims and an API page for each room.

The sources of the Sphinx build are written to build/site-source. Nothing is fetched, when building or when
reading: lessons are shown as stored, formulas are MathML.
"""

import shutil
from pathlib import Path

from qcourse.common import QCourseError, repository, results_folder
from qcourse.course.ledger import ledger

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


def setup(app) -> None:
    """Register the renderer that Sphinx calls: TeX to MathML, which browsers show by themselves."""
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))


def formula(writer, node) -> None:
    """Write one formula as MathML into a page of Sphinx's HTML writer."""
    from docutils import nodes
    from docutils.utils.math.latex2mathml import tex2mathml

    writer.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def room_page(name: str) -> str:
    """Return the reStructuredText of a room's page: its modules, documented by their docstrings."""
    folder = repository() / "qcourse" / name
    modules = [
        f"qcourse.{name}",
        *(f"qcourse.{name}.{path.stem}" for path in sorted(folder.glob("[a-z]*.py"))),
    ]
    blocks = [
        f"{module}\n{'-' * len(module)}\n\n.. automodule:: {module}\n   :members:\n" for module in modules
    ]
    return f"{name}\n{'=' * len(name)}\n\n" + "\n".join(blocks)


def claims_page() -> str:
    """Return the table of claims as Markdown."""
    cells = ((claim.id, claim.claim, claim.scope, claim.kind) for claim in ledger().values())
    rows = [" | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) for row in cells]
    return "# Claims\n\n| id | claim | scope | kind |\n|---|---|---|---|\n" + "".join(
        f"| {row} |\n" for row in rows
    )


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
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    shutil.copytree(repository() / "data" / "reference", folder / "data" / "reference")
    (folder / "index.md").write_text(INDEX, encoding="utf-8")
    (folder / "claims.md").write_text(claims_page(), encoding="utf-8")
    for room in sorted(path.parent.name for path in (repository() / "qcourse").glob("*/__init__.py")):
        (folder / "rooms" / f"{room}.rst").write_text(room_page(room), encoding="utf-8")
    lesson_pages(folder / "lessons")


def build() -> Path:
    """Build the site and return its first page; QCourseError when Sphinx ends with an error."""
    from sphinx.application import Sphinx

    source, target = results_folder() / "site-source", results_folder() / "site"
    write_sources(source)
    settings = {
        "project": "qcourse",
        "extensions": ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "qcourse.course.site"],
        "myst_enable_extensions": ["dollarmath"],
        "html_math_renderer": "mathml",
        "autodoc_mock_imports": ["vllm", "starlette", "ray", "auto_gptq", "awq"],
    }
    site = Sphinx(
        str(source), None, str(target), str(target / ".doctrees"), "html", settings, status=None, warning=None
    )
    site.build()
    if site.statuscode:
        raise QCourseError(
            f"the site could not be built from {source}; `sphinx-build {source} {target}` says why"
        )
    return target / "index.html"


if __name__ == "__main__":
    print(build())
