"""Calibration text from datasets: rows fetched as needed, what is refused, and what the manifest says.

Datasets are folders here, read by the library as those of the hub are; a folder comes before the hub.
"""

import json
import sys

import pytest

from qcourse.calibrate import hub, read_texts, text_record
from qcourse.common import QCourseError

datasets = pytest.importorskip("datasets", reason="datasets comes with llm-compressor (make engines)")

ROWS = [
    {"text": "one\u2028line", "body": "uno", "number": 1},
    {"text": "", "body": "dos", "number": 2},
    {"text": "  \n", "body": "tres", "number": 3},
    {"text": None, "body": "cuatro", "number": 4},
    {"text": "five", "body": "cinco", "number": 5},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty dataset folder acme/words in the current folder; nothing reaches the hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *args, **kwargs: pytest.fail("network"))
    place = tmp_path / "acme" / "words"
    place.mkdir(parents=True)
    return place


def write_jsonl(place, rows, split="train"):
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (place / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_texts_of_a_column(folder, form):
    if form == "jsonl":
        write_jsonl(folder, ROWS)
    else:
        datasets.Dataset.from_list(ROWS).to_parquet(str(folder / "train.parquet"))
    assert read_texts("hub:acme/words") == ["one\u2028line", "five"]
    assert read_texts("hub:acme/words:train:body") == ["uno", "dos", "tres", "cuatro", "cinco"]
    assert text_record("hub:acme/words:train") == {"name": "hub:acme/words:train", "revision": None}


def test_configurations_and_splits(folder):
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: short\n  data_files:\n  - split: test\n    path: test.jsonl\n"
        "- config_name: long\n  data_files:\n  - split: train\n    path: train.jsonl\n---\n"
    )
    write_jsonl(folder, ROWS[:1], "test")
    write_jsonl(folder, ROWS[4:], "train")
    assert read_texts("hub:acme/words/short:test") == ["one\u2028line"]
    assert read_texts("hub:acme/words/long") == ["five"]
    for name, reason in [("hub:acme/words", "[Cc]onfig name is missing.*short.*long"),
                         ("hub:acme/words/none", "'none' not found.*short.*long"),
                         ("hub:acme/words/short", "[Bb]ad split: train.*test")]:  # fmt: skip
        with pytest.raises(QCourseError, match=f"hub dataset acme/words cannot be read: .*{reason}"):
            read_texts(name)


@pytest.mark.parametrize("name, words", [
    ("hub:acme/words:train:prose", "has no column 'prose'; it has text, body, number"),
    ("hub:acme/words:train:number", "holds int, not text; columns of text are text, body"),
    ("hub:acme/words:train:body:more", "names no hub dataset; write hub:ORG/NAME"),
    ("hub:words", "'hub:words' names no hub dataset; write hub:ORG/NAME"),
    ("hub:", "names no hub dataset"),
    ("hub:acme/../../etc", "names no hub dataset"),
])  # fmt: skip
def test_names_and_columns_that_are_not_there(folder, name, words):
    write_jsonl(folder, ROWS)
    with pytest.raises(QCourseError, match=words):
        read_texts(name)


def test_no_text_and_damaged_rows(folder):
    write_jsonl(folder, ROWS[1:4])
    with pytest.raises(QCourseError, match="hub:acme/words has no text in its column 'text'; name another"):
        read_texts("hub:acme/words")
    (folder / "train.jsonl").write_text('{"text": "one"}\n{"text": ')
    with pytest.raises(QCourseError, match="hub dataset acme/words cannot be read: "):
        read_texts("hub:acme/words")


@pytest.fixture
def hub_of_rows(monkeypatch):
    """A hub that has every dataset, at commit abc, of a million rows; returns what was asked and fetched."""
    asked, fetched = [], []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        for index in range(1_000_000):
            fetched.append(index)
            yield {"text": "ten chars."}

    class Info:
        sha = "abc"

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda self, name, timeout: Info)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub.newest_revision.cache_clear()
    yield asked, fetched
    hub.newest_revision.cache_clear()


def test_only_the_rows_that_are_needed_are_fetched_at_one_revision(hub_of_rows):
    asked, fetched = hub_of_rows
    assert read_texts("hub:acme/words/short:test", characters=95) == ["ten chars."] * 10
    assert len(fetched) == 10
    assert asked == [(("acme/words", "short"), {"split": "test", "revision": "abc", "streaming": True})]
    assert text_record("hub:acme/words") == {"name": "hub:acme/words", "revision": "abc"}


def test_offline_it_is_said_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.newest_revision.cache_clear()
    sentence = "hub dataset acme/words is no folder here, and HF_HUB_OFFLINE is set; connect, or give a text"
    with pytest.raises(QCourseError, match=sentence):
        read_texts("hub:acme/words")


def test_a_hub_that_cannot_be_reached_or_has_no_such_dataset(monkeypatch, tmp_path):
    import httpx
    from huggingface_hub.errors import RepositoryNotFoundError

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub.newest_revision.cache_clear()
    missing = RepositoryNotFoundError("no", response=httpx.Response(404, request=httpx.Request("GET", "x:")))
    for error, words in ((httpx.ConnectError("no"), "cannot be reached"), (missing, "has none of that name")):

        def fail(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail)
        with pytest.raises(QCourseError, match=words):
            read_texts("hub:acme/words")


def test_without_the_library_it_is_said_so(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(QCourseError, match="need the library datasets, which is absent; pip install"):
        read_texts("hub:acme/words")


def test_files_are_recorded_by_name_alone(tmp_path):
    assert text_record(tmp_path / "notes.txt") == {"name": "notes.txt", "revision": None}


@pytest.mark.parametrize("method", ["gptq", "gguf-q8_0"])
def test_the_command_line_takes_it_and_the_manifest_names_it(folder, monkeypatch, llama_gqa, method):
    from qcourse.cli import main
    from qcourse.export import read_record

    if method.startswith("gguf"):
        from tests.engines import require

        require("llama.cpp")
    monkeypatch.setattr("qcourse.pipeline.calibration.SEQUENCES", 4)
    monkeypatch.setattr("qcourse.pipeline.calibration.LENGTH", 64)
    write_jsonl(folder, [{"words": "weights and scales, " * 200}])
    output = "out.gguf" if method.startswith("gguf") else "out"
    arguments = ["--method", method, "--calibration", "hub:acme/words:train:words", "--output", output]
    with pytest.raises(SystemExit) as stop:
        main(["quantize", str(llama_gqa), *arguments])
    assert not stop.value.code
    found = read_record(output).calibration
    assert (found.name, found.revision) == ("hub:acme/words:train:words", None)
    assert len(found.sha256) == 64
