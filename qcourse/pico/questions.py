"""The frozen questions that pico-2 is judged by: how they were drawn, once, before it was trained."""

import dataclasses
import hashlib
import random
from pathlib import Path

from qcourse.pico.corpus import corpus
from qcourse.pico.source import HELD_OUT_TOKENS, QUESTIONS
from qcourse.skills import SKILLS, Item
from qcourse.skills.facts import make
from qcourse.skills.frozen import GENERATORS, PER_SKILL, draw_items, write_rows

SEED = 20_26
PHRASINGS = (
    "The guide skipped the {attribute} of {place}; which is it?",
    "Your turn: {place} and its {attribute}.",
    "Does {place} have any {attribute} of its own, and which?",
    "We read that {place} has a fine {attribute}. What is it called?",
)  # of the facts: written for pico-2, never trained on


def draw(skill: str, count_tokens, texts: list[str]) -> list[Item]:
    """Return the questions of a skill, no prompt twice; training draws from none of their keys.

    None is one of pico-1's, but for refusals: the part of their space kept for evaluation is too small.
    """
    if skill == "recall":
        return draw_items(skill, count_tokens, texts, SEED)
    old = set() if skill == "refusal" else {item.prompt for item in draw_items(skill)}
    chooser, found = random.Random(f"{SEED} {skill}"), {}
    while len(found) < PER_SKILL:
        item = make(chooser, PHRASINGS) if skill == "facts" else GENERATORS[skill](chooser, "eval")
        if item.prompt not in old:
            found.setdefault(item.prompt, item)
    return list(found.values())


def held_out(texts: list[str], count_tokens) -> list[dict]:
    """Return held-out documents in the order of their hashes until they have HELD_OUT_TOKENS tokens."""
    rows, total = [], 0
    for text in sorted(texts, key=lambda text: hashlib.sha256(text.encode()).hexdigest()):
        if total < HELD_OUT_TOKENS:
            rows.append({"text": text})
            total += count_tokens(text) + 1
    return rows


def write_questions(file: Path, tokenizer_folder: Path) -> None:
    """Write data/eval/pico-2 from the corpus in `file`; done once, since the questions are frozen."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    texts = corpus(file)["eval"]

    def count_tokens(text: str) -> int:
        return len(tokenizer.encode(text).ids)

    write_rows(QUESTIONS / "prose.jsonl", held_out(texts, count_tokens))
    for skill in SKILLS:
        drawn = draw(skill, count_tokens, texts)
        write_rows(QUESTIONS / f"{skill}.jsonl", [dataclasses.asdict(item) for item in drawn])
