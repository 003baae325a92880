"""Calibration text to windows of tokens: reading files, drawing windows, the hash that a record keeps."""

import hashlib
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcourse.calibrate.hub import hub_revision, hub_texts, is_hub
from qcourse.common import QCourseError, read_text

FOREIGN_TOKENS_PER_BYTE = 0.7
CHARACTERS = 2_000_000  # about 1,000 windows of 512 tokens in English, to draw 64 or 128 from


def batches(
    tokenizer: Any, texts: Iterable[str] | str, n_samples: int = 128, seq_len: int = 512, seed: int = 0
) -> Tensor:
    """Return token ids [n_samples, seq_len], windows drawn from the joined texts.

    Windows do not overlap as long as the text has enough of them; the same seed gives the same windows.
    Raises QCourseError for text that is empty or shorter than one window; warns when the
    tokenizer needs so many tokens a byte that it does not seem to know the language.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    ids = joined_ids(tokenizer, texts)
    if not ids:
        raise QCourseError("the calibration text is empty; give a text file, or leave it out for the default")
    if len(ids) < seq_len:
        raise QCourseError(
            f"the calibration text has {len(ids)} tokens, fewer than one sequence of {seq_len}; "
            f"give more text or sequences of at most {len(ids)}"
        )
    warn_if_foreign(len(ids), sum(len(text.encode()) for text in texts))
    starts = window_starts(len(ids), n_samples, seq_len, seed)
    stream = torch.tensor(ids)
    return torch.stack([stream[start : start + seq_len] for start in starts])


def joined_ids(tokenizer: Any, texts: list[str]) -> list[int]:
    """Return the token ids of all texts in a row, with the end token between them where there is one."""
    end = tokenizer.eos_token_id
    ids: list[int] = []
    for text in texts:
        tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if tokens and ids and end is not None:
            ids.append(end)
        ids += tokens
    return ids


def window_starts(total: int, n_samples: int, seq_len: int, seed: int) -> list[int]:
    """Return where each window starts: distinct multiples of seq_len if there are enough, else anywhere."""
    generator = torch.Generator().manual_seed(seed)
    whole = total // seq_len
    if whole >= n_samples:
        return (torch.randperm(whole, generator=generator)[:n_samples] * seq_len).tolist()
    return torch.randint(0, total - seq_len + 1, (n_samples,), generator=generator).tolist()


def warn_if_foreign(n_tokens: int, n_bytes: int) -> None:
    """Warn when the text needs nearly a token a byte: the tokenizer was not made for it."""
    ratio = n_tokens / max(n_bytes, 1)
    if ratio > FOREIGN_TOKENS_PER_BYTE:
        warnings.warn(
            f"{ratio:.2f} tokens per byte: the tokenizer does not seem to know this text's language, "
            "and calibration will see it letter by letter",
            stacklevel=3,
        )


def read_texts(source: Path | str, characters: int = CHARACTERS) -> list[str]:
    """Return the documents of a file or of a hub dataset.

    source: a .jsonl file (one document a line's "text"), any other file (one document), both UTF-8 with or
    without a byte-order mark; or hub:ORG/NAME[/CONFIG][:SPLIT][:COLUMN], see `hub_texts`.
    characters: a hub dataset is read row by row until it has given this many.
    Raises QCourseError when the source is missing, not UTF-8, or has no text.
    """
    if is_hub(source):
        return hub_texts(str(source), characters)
    path = Path(source)
    content = read_text(path)
    if path.suffix != ".jsonl":
        return [content]
    try:
        # "\n" alone: str.splitlines also splits at characters that JSON strings may hold, such as U+2028
        texts = [json.loads(line)["text"] for line in content.split("\n") if line.strip()]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
        return texts
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise QCourseError(f'{path} has a line that is not a JSON object with "text"') from error


def text_record(source: Path | str) -> dict[str, str | None]:
    """Return what a manifest says of a calibration text beside its tokens' hash: name and hub revision.

    The name is without this machine's folders; the revision is None for files and for local datasets.
    """
    if is_hub(source):
        return {"name": str(source), "revision": hub_revision(str(source))}
    return {"name": Path(source).name, "revision": None}


def tokens_hash(tokens: Tensor) -> str:
    """Return the SHA-256 of token ids (as int64, with their shape), for manifests."""
    digest = hashlib.sha256(str(tuple(tokens.shape)).encode())
    digest.update(tokens.to(torch.int64).contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
