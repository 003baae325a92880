"""The site: every page is there, and none loads anything from elsewhere."""

import json
import re

import nbformat
import pytest

from qcourse.common import QCourseError, data_folder, repository
from qcourse.course import claims, site
from qcourse.course.site import build
from qcourse.course.site_pages import claims_page, in_cell, lesson_page, modules, scoreboards_page

LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=\"https?:|<link[^>]*rel=\"stylesheet\"[^>]*href=\"https?:"
)


def test_the_claims_page_has_verdict_and_figures_of_every_claim():
    page = claims_page()
    for row in map(claims.as_cells, claims.rows()):
        line = next(line for line in page.splitlines() if line.startswith(f"| {row['id']} | "))
        assert f" | {in_cell(row['verdict'])} | " in line and f" | {in_cell(row['figure'])} | " in line
    assert page.count("\n| ") == len(claims.rows()) + len(claims.contradictions()) + 4
    assert all(in_cell(row["answer"]) in page for row in claims.contradictions())


def test_a_cell_holds_text_and_no_markup():
    assert in_cell("a|b *c*\n$d$ <e>") == r"a\|b \*c\*<br>\$d\$ \<e\>"


def test_a_rooms_page_holds_the_modules_of_its_folders():
    assert {"qcourse.export.gguf", "qcourse.export.gguf.write"} <= set(modules("export"))
    assert {"qcourse.bench.speed.run", "qcourse.bench.quality.score"} <= set(modules("bench"))
    assert "qcourse.course" in modules("course") and not any(
        "exercises" in name for name in modules("course")
    )


def test_the_scoreboards_page_has_every_kept_row_of_every_model():
    page = scoreboards_page()
    for file in (data_folder() / "reference").rglob("scoreboard.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            assert f"| {in_cell(row['lane'])} | {in_cell(row['recipe'])} | {in_cell(row['engine'])} |" in page
        assert f"({file.with_suffix('.png').relative_to(data_folder().parent)})" in page
    assert page.index("## pico") == page.index("## ")


def test_a_page_of_a_lesson_shows_what_a_browser_can_and_says_what_a_figure_is():
    def shown(data, alt=None):
        metadata = {"image/png": {"alt": alt}} if alt else {}
        return nbformat.v4.new_output("display_data", data=data, metadata=metadata)

    image = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 460x244>"}
    code = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell("# 99 Title\n## What comes out"),
        code("import colab", metadata={"tags": ["colab"]}),
        code("predict()", outputs=[shown({"text/plain": "VBox(children=(HTML(value='<b>Pre"})]),
        code("draw()", outputs=[shown(image), shown(image, "Two [bars]")]),
        code("print(1)", outputs=[nbformat.v4.new_output("stream", text="VBox(1")]),
    ]
    text, images = lesson_page(nbformat.v4.new_notebook(cells=cells), "99")
    assert "colab" not in text and "children" not in text and "VBox(1" in text and "predict()" in text
    assert "![Figure: What comes out](" in text and "![Two  bars ](" in text and len(images) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["[gone](lessons/99_gone.md)", "```{eval-rst}\n.. automodule:: qcourse.gone\n```"]
)
def test_a_dead_link_and_a_failed_import_are_errors(page, tmp_path, monkeypatch):
    def write(folder):
        folder.mkdir(parents=True)
        (folder / "static").mkdir()
        (folder / "index.md").write_text(f"# Page\n\n{page}\n")

    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    monkeypatch.setattr(site, "write_sources", write)
    with pytest.raises(QCourseError, match="gone"):
        build()


@pytest.mark.slow
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    folder = build().parent
    assert folder == tmp_path / "build" / "site"
    pages = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    assert not [path.name for path, text in pages.items() if LOADED.search(text)]
    for lesson in (repository() / "notebooks").glob("[0-9]*.ipynb"):
        assert folder / "lessons" / f"{lesson.stem}.html" in pages
    for room in (repository() / "qcourse").glob("*/__init__.py"):
        assert folder / "rooms" / f"{room.parent.name}.html" in pages
    assert 'id="qcourse.methods.rtn.quantize_layer"' in pages[folder / "rooms" / "methods.html"]
    assert 'id="qcourse.export.gguf.write"' in pages[folder / "rooms" / "export.html"].replace("module-", "")
    assert all("_static/site.css" in text for text in pages.values())
    images = [image for text in pages.values() for image in re.findall(r"<img[^>]*_images[^>]*>", text)]
    assert images and all(re.search(r'alt="[^"]{9}', image) for image in images)
    assert "perplexity" in pages[folder / "scoreboards.html"]
    assert "Search.setIndex" in (folder / "searchindex.js").read_text()
