"""The pages of the site, as Markdown and reStructuredText: rooms, claims, scoreboards, lessons as stored."""

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat

from qcourse.common import data_folder, repository
from qcourse.course import claims, colab, report
from qcourse.measure import scoreboard


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


def scoreboards_page() -> str:
    """Return the kept rows and figure of every model as Markdown: pico's first, then the others by name."""
    parts = ["# Scoreboards\n"]
    for model, path in scoreboard.kept().items():
        rows = report.read_rows(path)
        about = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in report.setting(rows).items())
        picture = (path.parent / "scoreboard.png").relative_to(data_folder().parent).as_posix()
        named = [{title: report.cells(row)[key] for key, title in report.COLUMNS.items()} for row in rows]
        text = f"Bits per weight against KL divergence from bf16, {model}: the numbers are in the table below"
        numbers = table(named, tuple(report.COLUMNS.values()))
        parts.append(f"## {model}\n\n![{text}]({picture})\n\n{numbers}\n{in_cell(about)}\n")
    return "\n".join(parts)


def lesson_pages(folder: Path) -> None:
    """Write every lesson as Markdown, its stored figures beside it; nothing is executed."""
    for path in sorted((repository() / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        text, images = lesson_page(nbformat.read(path, as_version=4), path.stem)
        (folder / f"{path.stem}.md").write_text(text, encoding="utf-8")
        for name, image in images.items():
            (folder / name).write_bytes(image)


def lesson_page(notebook: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a lesson as Markdown and its images by name.

    Left out are the cell for Colab and boxes that only a kernel can show; every image has a text.
    """
    from nbconvert import MarkdownExporter

    notebook.cells = [cell for cell in notebook.cells if colab.TAG not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_box(output)]
    made, resources = MarkdownExporter().from_notebook_node(notebook, {"unique_key": name})
    texts = iter(alternative_texts(notebook))
    return re.sub(r"!\[png\]", lambda _: f"![{next(texts)}]", made), resources["outputs"]


def is_box(output: nbformat.NotebookNode) -> bool:
    """Say whether an output is a widget's, of which without a kernel only the name of its class is left."""
    return re.match(r"(?:VBox|HBox|interactive)\(", output.get("data", {}).get("text/plain", "")) is not None


def alternative_texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Return a text for each stored image in order: its own, or the heading that it stands under."""
    texts, heading = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)", cell.source, re.MULTILINE) or [heading])[-1]
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                own = output.metadata.get("image/png", {}).get("alt")
                texts.append(re.sub(r"[\[\]\n]", " ", own or f"Figure: {heading}"))
    return texts
