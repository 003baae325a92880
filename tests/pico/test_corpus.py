"""The corpus: what is read of a source distribution, what is thrown away, and what is held out."""

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from qcourse.common import QCourseError
from qcourse.pico import corpus
from qcourse.pico.rst import clean, without_repeats

SENTENCES = [
    f"Paragraph {n} says in plain words what the {n} part of this library is good for." for n in range(9)
]


def archive(path, files: dict[str, str]):
    """Return a .tar.gz of a source distribution with these files."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"thing-1.0/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def test_documentation_is_read_and_nothing_else(tmp_path):
    made = archive(
        tmp_path / "thing.tar.gz",
        {
            "docs/guide/b.rst": "bee",
            "doc/a.txt": "ay",
            "docs/news.rst": "x",
            "docs/releases/1.0.txt": "x",
            "tests/docs/data.txt": "x",
            "docs/whatsnew.rst": "x",
            "README.rst": "x",
            "docs/conf.py": "x",
            "docs/all.rst": "x" * 400_000,
        },
    )
    assert list(corpus.documents(made)) == [("doc/a.txt", "ay"), ("docs/guide/b.rst", "bee")]


def test_tables_lists_of_pages_and_targets_go_and_sentences_and_code_stay():
    text = "\n\n".join(
        [
            ".. _target:",
            "Title\n=====",
            ".. toctree::\n   :maxdepth: 1",
            "   one\n   two",
            "It\u2019s a \u201csentence\u201d.",
            "====  ====\na     b\n====  ====",
            "+---+---+\n| a | b |\n+---+---+",
            ".. note::\n   Read this.",
            "    code = [1, 2]",
            "0f 3c 99 12 77 00 81 5d 23",
            "\u4f60\u597d\u4e16\u754c",
        ]
    )
    kept = ["Title\n=====", 'It\'s a "sentence".', ".. note::\n   Read this.", "    code = [1, 2]"]
    assert clean(text) == kept


def test_what_was_said_before_is_dropped_and_short_rests_are_no_document():
    seen: set[str] = set()
    assert without_repeats(SENTENCES[:6], seen) == "\n\n".join(SENTENCES[:6])
    assert without_repeats(SENTENCES[:6], seen) == ""
    assert SENTENCES[0] not in without_repeats([SENTENCES[0], *SENTENCES[6:], SENTENCES[1] * 4], seen)


@pytest.fixture
def two_packages(tmp_path, monkeypatch):
    """Let the table name two tiny packages, `held` held out, and fetching find them."""
    texts = {"held": SENTENCES[:6], "read": [SENTENCES[0], *SENTENCES[4:]] + ["Only here. " * 30]}
    rows = []
    for name, blocks in texts.items():
        path = archive(tmp_path / f"{name}.tar.gz", {"docs/a.rst": "\n\n".join(blocks)})
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"name": name, "version": "1.0", "sha256": digest, "held_out": name == "held"})
    monkeypatch.setattr(corpus, "table", lambda: {"packages": rows, "sha256": "another"})
    monkeypatch.setattr(corpus, "prose", lambda split: [f"Python's own {split}. " * 30])

    def pip(command, **_):
        folder = tmp_path / command[command.index("--dest") + 1]
        folder.mkdir(parents=True)
        (folder / "thing.tar.gz").write_bytes((tmp_path / f"{folder.name}.tar.gz").read_bytes())
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(corpus.subprocess, "run", pip)
    return rows


def test_nothing_of_a_held_out_package_is_trained_on(tmp_path, two_packages, capsys):
    found = corpus.corpus(tmp_path / "corpus.jsonl.gz")
    assert found["eval"] == ["\n\n".join(SENTENCES[:6])]
    assert len(found["train"]) == 2
    assert not any(sentence in text for sentence in SENTENCES[:6] for text in found["train"])
    assert all(any(sentence in text for text in found["train"]) for sentence in SENTENCES[6:])
    assert "differ from pico-2's" in capsys.readouterr().err


def test_a_corpus_that_is_there_is_read_without_a_network(tmp_path, monkeypatch):
    file = tmp_path / "carried.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps({"name": "a", "split": "train", "text": "b"}).encode()))
    monkeypatch.setattr(corpus, "fetch", lambda *_: pytest.fail("fetched"))
    assert corpus.corpus(file) == {"train": ["b"], "eval": []}


def test_another_archive_than_the_pinned_one_is_refused(tmp_path, two_packages):
    two_packages[0]["sha256"] = "0" * 64
    with pytest.raises(QCourseError, match="has sha256"):
        corpus.corpus(tmp_path / "corpus.jsonl.gz")
    assert not (tmp_path / "corpus.jsonl.gz").exists()


def test_every_package_is_pinned_and_freely_licensed():
    table = corpus.packages()
    assert [row["name"] for row in table if row.get("held_out")] == ["peewee", "scrapy"]
    for row in table:
        assert len(row["sha256"]) == 64
        assert row["licence"].startswith(("MIT", "BSD", "Apache", "public domain"))


def test_a_package_that_pip_cannot_fetch_is_one_sentence(tmp_path, monkeypatch):
    done = type(
        "Done", (), {"returncode": 1, "stderr": "ERROR: a long list\nERROR: no matching distribution"}
    )
    monkeypatch.setattr(corpus.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(QCourseError) as caught:
        corpus.corpus(tmp_path / "corpus.jsonl.gz")
    assert str(caught.value) == (
        "pip could not fetch peewee==4.5.3: ERROR: no matching distribution; "
        "a corpus made elsewhere goes by --corpus"
    )
