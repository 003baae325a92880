"""The text and the tokenizer that training reads."""

from pathlib import Path

from qcourse.pico.rows import Source
from qcourse.pico.tokenizer import save_tokenizer
from qcourse.skills import prose


def load_source(folder: Path) -> tuple[Path, Source]:
    """Return the tokenizer's folder (trained there on first use) and the source of training rows."""
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    texts = prose("train")
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer(folder, texts)
    fast = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    return folder, Source(lambda text: fast.encode(text, add_special_tokens=False).ids, texts)
