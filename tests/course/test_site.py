"""The site: every page is there, and none loads anything from elsewhere."""

import re

import pytest

from qcourse.common import repository
from qcourse.course.ledger import ledger
from qcourse.course.site import build, claims_page

LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=\"https?:|<link[^>]*rel=\"stylesheet\"[^>]*href=\"https?:"
)


def test_the_claims_page_has_a_row_a_claim():
    assert claims_page().count("\n| ") == len(ledger()) + 1


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
