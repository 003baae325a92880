"""What training reads: the documents of the corpus file, their tokenizer, their ids and the held-out ones."""

from pathlib import Path
from typing import Any

import numpy as np

from qcourse.common import data_folder
from qcourse.pico.corpus import corpus
from qcourse.pico.rows import Source
from qcourse.pico.tokenizer import save_tokenizer
from qcourse.skills.prose import read_rows

QUESTIONS = data_folder() / "eval" / "pico-2"
HELD_OUT_TOKENS = 65_536  # of the held-out packages: what the curve and the card measure perplexity on


def load_source(file: Path, folder: Path) -> tuple[Source, list[int]]:
    """Return the source of training rows, from the corpus in `file`, and the held-out ids.

    The tokenizer is trained into `folder` on first use.
    """
    from tokenizers import Tokenizer

    texts = corpus(file)["train"]
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer(folder, texts)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    held_out = ids_of(tokenizer, [row["text"] for row in read_rows(QUESTIONS / "prose.jsonl")])
    return Source(tokenizer, texts, ids_of(tokenizer, texts)), held_out[:HELD_OUT_TOKENS].tolist()


def ids_of(tokenizer: Any, texts: list[str]) -> np.ndarray:
    """Return the documents' ids one after the other as uint16, each document ended by token 0."""
    parts = []
    for start in range(0, len(texts), 256):
        for encoded in tokenizer.encode_batch(texts[start : start + 256], add_special_tokens=False):
            parts.append(np.array([*encoded.ids, 0], dtype=np.uint16))
    return np.concatenate(parts)
