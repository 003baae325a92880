"""The tokenizer inside a GGUF: tokens, merges, how text is split before them, and the chat template."""

import json
from typing import Any

from qcourse.common import QCourseError

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
PATTERNS = {GPT2: "gpt-2", LLAMA3: "llama-bpe", QWEN2: "qwen2"}
"""Regular expression that splits text before BPE -> the name that llama.cpp has for it."""

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


def add_tokenizer(writer: Any, tokenizer: Any, vocab_size: int) -> None:
    """Write a byte-level BPE tokenizer (tokenizer.ggml.model gpt2) into a GGUFWriter.

    vocab_size: rows of the embedding; ids without a token become unused ones.
    Raises QCourseError for a tokenizer of another kind or with an unknown splitting.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens, types = token_list(state, tokenizer, vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer(state))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(
        [" ".join(pair) if isinstance(pair, list) else pair for pair in state["model"]["merges"]]
    )
    for kind in ("bos", "eos", "pad", "unk"):
        if (number := getattr(tokenizer, f"{kind}_token_id", None)) is not None and number < vocab_size:
            getattr(writer, f"add_{kind}_token_id")(number)
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(tokenizer.eos_token_id is not None and ids[-1:] == [tokenizer.eos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def token_list(state: dict[str, Any], tokenizer: Any, vocab_size: int) -> tuple[list[str], list[int]]:
    """Return every token by id and its GGUF type, from tokenizer.json's content.

    Added tokens beyond the embeddings are left out: no engine can run them.
    Raises QCourseError if a token of the vocabulary itself has no embedding.
    """
    by_id = {number: text for text, number in state["model"]["vocab"].items()}
    kinds = dict.fromkeys(by_id, NORMAL)
    specials = set(tokenizer.all_special_ids)
    if max(by_id) >= vocab_size:
        raise QCourseError(
            f"the tokenizer has ids up to {max(by_id)}, the model {vocab_size} embeddings; "
            "use the tokenizer that belongs to the model"
        )
    for added in state.get("added_tokens", []):
        by_id[added["id"]] = added["content"]
        special = added["special"] or added["id"] in specials
        kinds[added["id"]] = CONTROL if special else USER_DEFINED
    ids = range(vocab_size)
    return [by_id.get(i, f"[PAD{i}]") for i in ids], [kinds.get(i, UNUSED) for i in ids]


def pre_tokenizer(state: dict[str, Any]) -> str:
    """Return llama.cpp's name for how a tokenizer splits text. Raises QCourseError if it has none."""
    if state["model"]["type"] != "BPE" or state["model"].get("byte_fallback"):
        raise QCourseError(
            "only byte-level BPE tokenizers (GPT-2, Llama 3, Qwen) are written to GGUF; "
            "convert SentencePiece models with llama.cpp's convert_hf_to_gguf.py"
        )
    outer = state.get("pre_tokenizer") or {}
    steps = outer.get("pretokenizers", [outer])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"] and steps[1].get("use_regex", True):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not steps[1].get("use_regex", True):
        if name := PATTERNS.get(steps[0]["pattern"].get("Regex")):
            return name
    raise QCourseError(
        f"llama.cpp has no name for this way to split text ({' + '.join(map(str, kinds))}); "
        f"known are individual digits with GPT-2's, and {', '.join(PATTERNS.values())}"
    )
