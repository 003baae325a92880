"""The tokenizer inside a GGUF as one of transformers: byte-level BPE or SentencePiece, by its metadata.

It gives llama.cpp's token ids, which leaves out what the file does not hold: a normalization to NFC
(Qwen's own tokenizer has one) and spaces that an added token takes in.
"""

from pathlib import Path
from typing import Any

from qcourse.common import QCourseError
from qcourse.gguf_reader.pre_tokenizers import WHOLE_WORDS_FIRST, pre_tokenizer
from qcourse.gguf_reader.read import _open, field, value

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
SPACE = "\u2581"  # SentencePiece's mark of a space
KINDS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def read_tokenizer(path: Path | str) -> Any:
    """Return the tokenizer of a GGUF file as a PreTrainedTokenizerFast, chat template included.

    Raises QCourseError for a damaged file, another kind of vocabulary and an unknown splitting of text.
    """
    from transformers import PreTrainedTokenizerFast

    reader = _open(path)
    tokens, types = (field(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "token_type"))
    kind = field(reader, "tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise QCourseError(f"{path} has a {kind!r} tokenizer; byte-level BPE (gpt2) and SentencePiece "
                           "(llama) are read")  # fmt: skip
    made = byte_level(reader, tokens, types) if kind == "gpt2" else sentence_piece(reader, tokens, types)
    add_tokens(made, tokens, types)
    named = special_tokens(reader, tokens)
    add_ends(made, reader, kind, named)
    arch = field(reader, "general.architecture")
    return PreTrainedTokenizerFast(
        tokenizer_object=made, chat_template=value(reader, "tokenizer.chat_template", None),
        model_max_length=field(reader, f"{arch}.context_length"), clean_up_tokenization_spaces=False,
        **named)  # fmt: skip


def special_tokens(reader: Any, tokens: list[str]) -> dict[str, str]:
    """Return bos_token, eos_token, unk_token and pad_token, as far as the file names them."""
    ids = {kind: value(reader, f"tokenizer.ggml.{name}_token_id", None) for kind, name in KINDS.items()}
    return {f"{kind}_token": tokens[number] for kind, number in ids.items()
            if number is not None and number < len(tokens)}  # fmt: skip


def byte_level(reader: Any, tokens: list[str], types: list[int]) -> Any:
    """Return GPT-2's kind of tokenizer: merges over bytes, text split as tokenizer.ggml.pre says."""
    from tokenizers import Tokenizer, decoders, models

    pre = value(reader, "tokenizer.ggml.pre", "default")
    merges = [split_merge(merge) for merge in field(reader, "tokenizer.ggml.merges")]
    made = Tokenizer(models.BPE(vocabulary_of(tokens, types), merges, ignore_merges=pre in WHOLE_WORDS_FIRST))
    made.pre_tokenizer = pre_tokenizer(pre)
    made.decoder = decoders.ByteLevel()
    return made


def vocabulary_of(tokens: list[str], types: list[int]) -> dict[str, int]:
    """Return the number of each token; rows of the embedding without one ([PAD500], unused) get no entry."""
    return {token: number for number, token in enumerate(tokens)
            if not (types[number] == UNUSED and token == f"[PAD{number}]")}  # fmt: skip


def split_merge(merge: str) -> tuple[str, str]:
    """Return the two tokens of a merge, which stand on either side of its space."""
    left, _, right = merge.partition(" ")
    return left, right


def sentence_piece(reader: Any, tokens: list[str], types: list[int]) -> Any:
    """Return SentencePiece's kind of tokenizer: any two neighbours may merge, the best score first."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    scores = field(reader, "tokenizer.ggml.scores")
    vocabulary = vocabulary_of(tokens, types)
    unknown = tokens[value(reader, "tokenizer.ggml.unknown_token_id", 0)]
    made = Tokenizer(models.BPE(vocabulary, merges_of(vocabulary, scores), unk_token=unknown,
                                fuse_unk=True, byte_fallback=True))  # fmt: skip
    prefix = value(reader, "tokenizer.ggml.add_space_prefix", True)
    before = [normalizers.Prepend(SPACE)] if prefix else []
    made.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)])
    after = [decoders.Strip(" ", 1, 0)] if prefix else []
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after])  # fmt: skip
    return made


def merges_of(vocabulary: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Return every way to make a piece of two others, the piece with the best score first."""
    best = sorted(vocabulary, key=lambda piece: -scores[vocabulary[piece]])
    return [(piece[:cut], piece[cut:]) for piece in best for cut in range(1, len(piece))
            if piece[:cut] in vocabulary and piece[cut:] in vocabulary]  # fmt: skip


def add_tokens(made: Any, tokens: list[str], types: list[int]) -> None:
    """Make control and unknown tokens special, user-defined ones added: both are found in any text."""
    from tokenizers import AddedToken

    for number, kind in enumerate(types):
        if kind in (CONTROL, UNKNOWN, USER_DEFINED):
            token = AddedToken(tokens[number], special=kind != USER_DEFINED, normalized=False)
            (made.add_special_tokens if kind != USER_DEFINED else made.add_tokens)([token])


def add_ends(made: Any, reader: Any, kind: str, named: dict[str, str]) -> None:
    """Let every text begin with bos or end with eos where the file says so, or llama.cpp does by itself."""
    from tokenizers import processors

    usual = kind == "llama" or value(reader, "tokenizer.ggml.pre", "") in WHOLE_WORDS_FIRST
    ends = {"bos": value(reader, "tokenizer.ggml.add_bos_token", usual),
            "eos": value(reader, "tokenizer.ggml.add_eos_token", False)}  # fmt: skip
    used = {end: named[f"{end}_token"] for end, wanted in ends.items() if wanted and f"{end}_token" in named}
    if used:
        made.post_processor = processors.TemplateProcessing(
            single=[token for token in (used.get("bos"), "$A", used.get("eos")) if token],
            special_tokens=[(token, made.token_to_id(token)) for token in used.values()],
        )
