"""python -m qcourse.course.site: build/site holds README, lessons, claims and an API page for each room.

The sources of the Sphinx build are written to build/site-source. Nothing is fetched, when building or when
reading: lessons are shown as stored, formulas are MathML.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from qcourse.common import QCourseError, repository, results_folder
from qcourse.course import site_pages

INDEX = """# Quantization by doing it
Fifteen lessons on quantizing language models: predict, build the algorithm by hand, run the production
library on the same model, and measure both with one yardstick. Start with {doc}`lessons/00_setup`; what came
out is under {doc}`scoreboards` and {doc}`claims`. {ref}`search` finds a word in all pages.

![Bits per weight against KL divergence from bf16, every lane on pico](data/reference/scoreboard.png)
```{toctree}
:caption: The course
:maxdepth: 1
README
scoreboards
claims
CONTRIBUTING
CHANGELOG
```
```{toctree}
:caption: Lessons
:maxdepth: 1
:glob:
lessons/*
```
```{toctree}
:caption: The package, a room a page
:maxdepth: 1
:glob:
rooms/*
```
"""
# On a telephone long signatures break, and wide tables scroll by themselves. A cell's code has a bar at its
# side, what it printed has none.
STYLE = """\
body { overflow-wrap: break-word; }
span.pre { white-space: normal; }
dt.sig, code.literal, h1, h2, h3 { overflow-wrap: anywhere; }
table.docutils, math[display="block"] { display: block; max-width: 100%; overflow-x: auto; }
table.docutils td { min-width: 4em; vertical-align: top; }
table.docutils td p, table.docutils th p { margin: 0; }
img { max-width: 100%; height: auto; }
div.highlight pre { font-size: 0.85em; padding: 8px 12px; margin: 0 0 8px; line-height: 1.35; }
div.highlight-python pre { background: #f4f6f8; border-left: 4px solid #0072B2; }
div.highlight-none pre { background: white; }
div.sphinxsidebar { font-size: 0.9em; }
@media (max-width: 875px) {
  div.body { padding: 12px; }
  div.sphinxsidebar { background: #333; }
  div.sphinxsidebar a, div.sphinxsidebar h3, div.sphinxsidebar h3 a { color: white; }
}
"""
SETTINGS = {
    "project": "qcourse",
    "extensions": ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "qcourse.course.site"],
    "myst_enable_extensions": ["dollarmath"],
    "html_math_renderer": "mathml",
    "html_static_path": ["static"],
    "html_css_files": ["site.css"],
    "html_theme_options": {
        "page_width": "1180px",
        "body_max_width": "900px",
        "font_family": "system-ui, sans-serif",
        "head_font_family": "system-ui, sans-serif",
        "font_size": "16px",
    },
    "default_role": "code",
    # Docstrings are prose: its lists and hanging lines are no errors. Two rooms may have a class of one name.
    "suppress_warnings": ["docutils", "ref.python"],
    # Of other environments, found by path, or printing while imported.
    "autodoc_mock_imports": [
        *"auto_gptq awq gptqmodel llama_cpp llama_cpp_answers llama_cpp_engine ray starlette vllm".split()
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
    (folder / "claims.md").write_text(site_pages.claims_page(), encoding="utf-8")
    (folder / "scoreboards.md").write_text(site_pages.scoreboards_page(), encoding="utf-8")
    for room in sorted(path.parent.name for path in (repository() / "qcourse").glob("*/__init__.py")):
        (folder / "rooms" / f"{room}.rst").write_text(site_pages.room_page(room), encoding="utf-8")
    site_pages.lesson_pages(folder / "lessons")


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
