"""Canaries: prompts whose next token the unquantized model is sure of, kept to replay against a server."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from qcourse.common import read_text, results_folder, write_json
from qcourse.common.validation import read_as

WINDOW = 64  # tokens of a canary's prompt at most
MARGIN = 1.0  # nats between the reference's two likeliest tokens: an engine's rounding does not swap them


@dataclass(frozen=True)
class Reference:
    """What the unquantized model says: prompts (token ids), its next tokens' texts, its skills' marks."""

    model: str
    hash: str
    prompts: list[list[int]]
    expected: list[str]
    marks: dict[str, list[bool]]


def reference(baseline: str, canaries: int = 64, items: int = 0) -> Reference:
    """Return the reference of a model in bf16, computed once and stored by the model's hash.

    canaries: prompts of up to 64 tokens of held-out prose, cut where the model's next token is clear by a
    factor of e; items: questions a skill. Raises QCourseError for a text without so many canaries.
    """
    from qcourse import models
    from qcourse.measure import evaluation_tokens, skill_scores
    from qcourse.skills import asked_of

    loaded = models.load(baseline)
    path = results_folder() / "watch" / f"{loaded.hash[:16]}-{canaries}-{items}.json"
    if path.exists():
        return read_as(Reference, json.loads(read_text(path)), str(path))
    windows = evaluation_tokens(loaded.tokenizer, canaries, WINDOW).tokens
    pairs = [pair for window in windows if (pair := canary(loaded, window))]
    asked = asked_of(baseline, bool(loaded.tokenizer.chat_template))
    marks = skill_scores(loaded, asked, items)["marks"] if items else {}
    prompts, expected = [prompt for prompt, _ in pairs], [text for _, text in pairs]
    made = Reference(baseline, loaded.hash, prompts, expected, marks)
    write_json(path, asdict(made))
    return made


def canary(loaded: Any, window: Any) -> tuple[list[int], str] | None:
    """Return the longest prompt in a window int64 [T] whose next token is clear and is text, and the text."""
    import torch

    with torch.no_grad():
        logits = loaded.model(window[None].to(loaded.model.device)).logits[0].float()
    best, ids = logits.topk(2)
    for position in reversed(range(len(window) // 4, len(window))):
        text = loaded.tokenizer.decode(ids[position, 0])
        clear = best[position, 0] - best[position, 1] >= MARGIN
        if clear and text.strip() and "\ufffd" not in text:
            return window[: position + 1].tolist(), text
    return None
