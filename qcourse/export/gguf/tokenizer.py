"""The tokenizer inside a GGUF: tokens, merges or scores, how text is split before them, the chat template."""

import json
import re
from typing import Any

from qcourse.common import QCourseError
from qcourse.gguf_reader import pre_tokenizers
from qcourse.gguf_reader.tokenizer import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    merges_of,
)

NEVER = -1e6  # the score of a piece that no merge makes
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def add_tokenizer(writer: Any, tokenizer: Any, vocab_size: int) -> None:
    """Write a byte-level BPE or SentencePiece tokenizer into a GGUFWriter, as model gpt2 or llama.

    vocab_size: rows of the embedding; ids without a token become unused ones.
    Raises QCourseError for a tokenizer of another kind or with an unknown splitting.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"]["type"] != "BPE":
        raise QCourseError(
            f"{state['model']['type']} tokenizers are not written to GGUF; byte-level BPE and "
            "SentencePiece's BPE are: use llama.cpp's convert_hf_to_gguf.py"
        )
    tokens, types = token_list(state, tokenizer, vocab_size)
    add = add_sentence_piece if state["model"].get("byte_fallback") else add_byte_level
    add(writer, state, tokens)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    add_specials(writer, tokenizer, vocab_size)
    template = tokenizer.chat_template
    template = template.get("default") if isinstance(template, dict) else template
    if template:
        writer.add_chat_template(template)


def add_specials(writer: Any, tokenizer: Any, vocab_size: int) -> None:
    """Write the ids of bos, eos, pad and unk, and whether a text begins or ends with one of them."""
    for kind in ("bos", "eos", "pad", "unk"):
        if (number := getattr(tokenizer, f"{kind}_token_id", None)) is not None and number < vocab_size:
            getattr(writer, f"add_{kind}_token_id")(number)
    end = end_of_turn(tokenizer)
    if end is not None and end != tokenizer.eos_token_id and end < vocab_size:
        writer.add_eot_token_id(end)
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(tokenizer.eos_token_id is not None and ids[-1:] == [tokenizer.eos_token_id])


def end_of_turn(tokenizer: Any) -> int | None:
    """Return the id of the added token that the chat template puts after an answer; None without one."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "last words"}]
    try:
        after = tokenizer.apply_chat_template(chat, tokenize=False).rpartition("last words")[2]
    except Exception:  # no template, or one that refuses this chat in words of its own
        return None
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    return next((number for number in ids if number in tokenizer.added_tokens_decoder), None)


def add_byte_level(writer: Any, state: dict[str, Any], tokens: list[str]) -> None:
    """Write what makes tokens of bytes: the merges, and the name of how text is split before them."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizers.name_of(state.get("pre_tokenizer")))
    writer.add_token_merges([" ".join(pair) for pair in merges(state)])


def add_sentence_piece(writer: Any, state: dict[str, Any], tokens: list[str]) -> None:
    """Write what makes tokens of characters: a score for each piece, and whether a space comes first.

    llama.cpp merges any two neighbours that make a piece, the best score first, and puts the space also
    behind every added token. Raises QCourseError for merges that are not all of those pairs.
    """
    found = merges(state)
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(found):
        ranks.setdefault(left + right, rank)
    scores = [-float(ranks[token]) if token in ranks else NEVER for token in tokens]
    vocabulary = {token: number for number, token in enumerate(tokens) if token in ranks or len(token) == 1}
    if missing := set(merges_of(vocabulary, scores)) - set(found):
        left, right = min(missing)
        raise QCourseError(
            f"llama.cpp would merge {left!r} and {right!r}, which this tokenizer does not; its GGUF would "
            "give other tokens: use a tokenizer converted from SentencePiece"
        )
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_scores(scores)
    writer.add_add_space_prefix(space_first(state))


def merges(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the merges of a tokenizer.json as pairs, in their order."""
    return [tuple(pair.split(" ", 1) if isinstance(pair, str) else pair) for pair in state["model"]["merges"]]


def space_first(state: dict[str, Any]) -> bool:
    """Return whether a space is put before a text. Raises QCourseError unless only spaces are marked.

    Metaspace, unlike llama.cpp, puts none before a text that begins with a space.
    """
    outer, split = state.get("normalizer") or {}, state.get("pre_tokenizer")
    steps = outer.get("normalizers", [outer] if outer else [])
    kinds = [step["type"] for step in steps]
    if split is None and kinds in (["Prepend", "Replace"], ["Replace"]) and steps[-1]["content"] == SPACE:
        return len(kinds) == 2
    if not steps and split and split["type"] == "Metaspace" and not split.get("split", True):
        return split["prepend_scheme"] != "never"
    raise QCourseError(
        f"llama.cpp marks spaces and does nothing else to a text; this tokenizer has {kinds} and "
        f"{split and split['type']}: convert it with llama.cpp's convert_hf_to_gguf.py"
    )


def token_list(state: dict[str, Any], tokenizer: Any, vocab_size: int) -> tuple[list[str], list[int]]:
    """Return every token by id and its GGUF type, from tokenizer.json's content.

    Added tokens beyond the embeddings are left out: no engine can run them.
    Raises QCourseError if a token of the vocabulary itself has no embedding.
    """
    by_id = {number: text for text, number in state["model"]["vocab"].items()}
    fallback = bool(state["model"].get("byte_fallback"))
    kinds = {number: BYTE if fallback and BYTE_PIECE.fullmatch(text) else NORMAL
             for number, text in by_id.items()}  # fmt: skip
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
    if fallback and tokenizer.unk_token_id is not None:
        kinds[tokenizer.unk_token_id] = UNKNOWN
    ids = range(vocab_size)
    return [by_id.get(i, f"[PAD{i}]") for i in ids], [kinds.get(i, UNUSED) for i in ids]
