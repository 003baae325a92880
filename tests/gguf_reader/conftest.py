"""Small models, tokenizers of every kind that GGUF has, and llama.cpp's own reading of a text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qcourse import export, models
from qcourse.gguf_reader import pre_tokenizers
from qcourse.gguf_reader.tokenizer import SPACE, merges_of
from tests.engines import require
from tests.small_models import TEXT

HARD = (
    "The  scale of\n\n a group\t\tis 1234567 and 3.14\n   def f(x):\n\treturn x\r\n naïve café, Ærø — "
    "日本語 🙂 ½ ١٢٣"
    "<|user|>it's WE'LL <|begin|> don't  \n\n\n x__y ==> `z` \u00a0 e\u0301<|end|>\n <|user|>"
)
"""Spaces, newlines, digits, tabs, non-ASCII, punctuation and added tokens, with and without spaces around."""
SPECIALS = ["<|begin|>", "<|end|>"]


def byte_level(pre: str) -> Any:
    """Return a byte-level BPE tokenizer of 500 entries and an added one, split as llama.cpp's `pre` says."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, trainers
    from tokenizers.pre_tokenizers import ByteLevel

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.pre_tokenizer(pre)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIALS, initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False))  # fmt: skip
    made.add_tokens([AddedToken("<|user|>", normalized=False)])
    return wrapped(made)


def sentence_piece(style: str) -> Any:
    """Return SentencePiece's kind as transformers has it: "normalizer", "metaspace" or "no prefix"."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
    from tokenizers.pre_tokenizers import Metaspace

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = Metaspace()
    trained.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(vocab_size=230, show_progress=False))
    learned = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    pieces = ["<unk>", *SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *learned][:500]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = merges_of(vocabulary, [-number for number in range(len(pieces))])
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if style == "metaspace":
        made.pre_tokenizer = Metaspace(prepend_scheme="always", split=False)
    else:
        first = [normalizers.Prepend(SPACE)] if style == "normalizer" else []
        made.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", SPACE)])
    steps = [
        decoders.Replace(SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    made.decoder = decoders.Sequence(steps)
    made.add_special_tokens([AddedToken(token, normalized=False) for token in ["<unk>", *SPECIALS]])
    made.add_tokens([AddedToken("<|user|>", normalized=False)])
    return wrapped(made, unk_token="<unk>")


def wrapped(made: Any, **more: str) -> Any:
    """Return a tokenizer of `tokenizers` as one of transformers."""
    from transformers import PreTrainedTokenizerFast

    ends = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|end|>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **ends, **more)


def llama_cpp_ids(path: Path, text: str) -> list[int]:
    """Return the token ids that llama.cpp reads a text as, added tokens and all; no weights are loaded."""
    import llama_cpp

    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    try:
        return model.tokenize(text.encode(), add_bos=True, special=True)
    finally:
        model.close()


@pytest.fixture(scope="session")
def written(small_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Return a function from a small model's name, and a tokenizer instead of its own, to its bf16 GGUF."""
    require("gguf")
    root = tmp_path_factory.mktemp("written")

    def write(name: str, tokenizer: Any = None, label: str = "own") -> Path:
        path = root / f"{name}-{label}.gguf"
        if not path.exists():
            loaded = models.load(small_folders[name])
            export.gguf.write(loaded.model, tokenizer or loaded.tokenizer, path)
        return path

    return write
