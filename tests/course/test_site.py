"""The site: every page is there, and none loads anything from elsewhere."""

import re

import pytest

from qcourse.common import QCourseError, repository
from qcourse.course import claims, site
from qcourse.course.site import build, claims_page, in_cell, modules

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
