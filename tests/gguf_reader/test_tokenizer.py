"""A GGUF's own tokenizer gives llama.cpp's token ids, and so does the tokenizer that was written into it."""

import json

import pytest

from qcourse import export, gguf_reader
from qcourse.common import QCourseError
from qcourse.gguf_reader import pre_tokenizers
from tests.engines import require
from tests.gguf_reader.conftest import HARD, byte_level, llama_cpp_ids, sentence_piece

KINDS = [*pre_tokenizers.STEPS, "normalizer", "metaspace", "no prefix"]


def made(kind):
    return byte_level(kind) if kind in pre_tokenizers.STEPS else sentence_piece(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_llama_cpp_s_in_both_directions(kind, written):
    require("llama.cpp")
    tokenizer = made(kind)
    path = written("llama_tied", tokenizer, kind)
    text = HARD.replace("> ", ">") if kind == "metaspace" else HARD  # it puts no space before a space
    wanted = llama_cpp_ids(path, text)
    assert len(wanted) > 100
    assert gguf_reader.read_tokenizer(path)(text)["input_ids"] == wanted
    assert tokenizer(text)["input_ids"] == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_returns_from_its_folder(kind, written, tmp_path):
    from transformers import AutoTokenizer

    found = gguf_reader.read_tokenizer(written("llama_tied", made(kind), kind))
    ids = found(HARD)["input_ids"]
    if kind in ("normalizer", "metaspace"):  # a space comes behind every added token too
        assert found.decode(ids).split() == HARD.replace(">", "> ").replace("= > ", "=> ").split()
    else:
        assert found.decode(ids) == HARD
    found.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(HARD)["input_ids"] == ids
    assert (found.bos_token, found.eos_token, found.pad_token) == ("<|begin|>", "<|end|>", "<|end|>")
    assert found.all_special_ids and not {found.convert_tokens_to_ids("<|user|>")} & set(
        found.all_special_ids
    )


def test_texts_begin_with_bos_where_the_file_says_so(written):
    require("llama.cpp")
    from tokenizers.processors import TemplateProcessing

    tokenizer = sentence_piece("normalizer")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 1)])  # fmt: skip
    path = written("llama_tied", tokenizer, "bos")
    ids = gguf_reader.read_tokenizer(path)("a group")["input_ids"]
    assert ids[0] == 1 and ids == llama_cpp_ids(path, "a group") == tokenizer("a group")["input_ids"]


def test_merges_that_llama_cpp_would_not_keep_to_are_refused(written, tmp_path):
    tokenizer = sentence_piece("normalizer")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    whole = {"".join(pair) for pair in state["model"]["merges"]}
    doubled = next(piece for piece in sorted(whole)
                   if sum("".join(pair) == piece for pair in state["model"]["merges"]) > 1)  # fmt: skip
    state["model"]["merges"].remove(
        next(pair for pair in reversed(state["model"]["merges"]) if "".join(pair) == doubled)
    )
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    with pytest.raises(QCourseError, match="llama.cpp would merge"):
        written("llama_tied", tokenizer, "incomplete")


@pytest.mark.parametrize("key, value, words", [
    ("tokenizer.ggml.model", "t5", "'t5' tokenizer; byte-level BPE"),
    ("tokenizer.ggml.pre", "viking", "'viking' is not known; known are gpt-2"),
])  # fmt: skip
def test_other_tokenizers_are_refused_by_name(key, value, words, written, monkeypatch):
    from qcourse.gguf_reader import tokenizer as module

    path = written("llama_tied", byte_level("gpt-2"), "gpt-2")
    real, real_field = module.value, module.field
    monkeypatch.setattr(module, "value", lambda reader, name, default: value if name == key else real(
        reader, name, default))  # fmt: skip
    monkeypatch.setattr(
        module, "field", lambda reader, name: value if name == key else real_field(reader, name)
    )
    with pytest.raises(QCourseError, match=words):
        gguf_reader.read_tokenizer(path)


def test_chat_template_and_unused_rows(written):
    path = written("llama_tied")
    found = gguf_reader.read_tokenizer(path)
    turns = [{"role": "user", "content": "Hi"}]
    text = found.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>Hi<|end|><|assistant|>"
    shorter = gguf_reader.read_tokenizer(written("llama_tied", byte_level("gpt-2"), "gpt-2"))
    assert len(shorter) < 505 and "[PAD505]" not in shorter.get_vocab()
    assert len(export.gguf.tensor_types(path)) == 20
