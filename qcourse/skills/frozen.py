"""The frozen evaluation items: how they were drawn, and how they are read.

data/eval/calibration.jsonl holds training documents in an order shuffled by SEED, up to 65,536 tokens.
"""

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from qcourse.common import QCourseError, atomic_path, data_folder
from qcourse.skills import arithmetic, code, facts, format, recall, refusal, tool_call
from qcourse.skills.item import Item, draw
from qcourse.skills.prose import prose, read_rows

SEED = 20_25
PER_SKILL = 200
GENERATORS = {
    "arithmetic": partial(draw, arithmetic.make), "facts": facts.generate,
    "tool_call": partial(draw, tool_call.make), "format": partial(draw, format.make),
    "refusal": partial(draw, refusal.make), "code": partial(draw, code.make),
}  # fmt: skip
"""Skill -> function of a random.Random and a split: an item whose key ("eval") is never trained on."""
SKILLS = ("recall", *GENERATORS)


def draw_items(
    skill: str,
    count_tokens: Callable[[str], int] | None = None,
    texts: list[str] | None = None,
    seed: int = SEED,
) -> list[Item]:
    """Return the evaluation items of a skill, no prompt twice.

    Recall needs a token counter and held-out documents; its distance bins alternate,
    so that the first n items hold all of them.
    """
    chooser = random.Random(f"{seed} {skill}")
    found: dict[str, Item] = {}
    while len(found) < PER_SKILL:
        if skill == "recall":
            limit = recall.BINS[len(found) % len(recall.BINS)]
            item = recall.generate(chooser, texts or prose("eval"), limit, count_tokens)
        else:
            item = GENERATORS[skill](chooser, "eval")
        found.setdefault(item.prompt, item)
    return list(found.values())


def items(skill: str, n: int | None = None, split: str = "eval") -> list[Item]:
    """Return the first n items of a skill: frozen ones ("eval"), or from the training part ("train")."""
    if skill not in SKILLS:
        raise QCourseError(f"there is no skill {skill!r}: choose one of {', '.join(SKILLS)}")
    if split == "eval":
        return [Item(**row) for row in read_rows(data_folder() / "eval" / f"{skill}.jsonl")][:n]
    chooser = random.Random(f"{SEED} {skill} train")
    if skill == "recall":
        return [recall.make(chooser, prose("train"), 200, "train") for _ in range(n or PER_SKILL)]
    return [GENERATORS[skill](chooser, "train") for _ in range(n or PER_SKILL)]


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write JSON objects, one a line."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
