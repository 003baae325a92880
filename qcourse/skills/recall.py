"""Recall: one of several pairs hidden in documentation prose, asked for at a known distance."""

import random
from collections.abc import Callable

from qcourse.skills import words
from qcourse.skills.item import Item, is_eval

BINS = (256, 512, 1024, 1500)  # a pair lies at most this many tokens before its answer
NEEDLES = 4
NEEDLE = "The pair is {key} {value}."
QUESTION = "Which word is paired with {key}?"
ANSWER = "Found: {key} {value}"
CHARACTERS = 3.6  # of documentation a token, about: for cutting prose to length without a tokenizer


def pairs(chooser: random.Random, count: int, split: str) -> list[tuple[str, str]]:
    """Return `count` pairs of words, no word twice; an eval pair is never trained on."""
    while True:
        chosen = chooser.sample(words.NOUNS, 2 * count)
        found = list(zip(chosen[::2], chosen[1::2], strict=True))
        if all(is_eval(f"{key} {value}") == (split == "eval") for key, value in found[:1]) and (
            split == "eval" or not any(is_eval(f"{key} {value}") for key, value in found)
        ):
            return found


def haystack(chooser: random.Random, documents: list[str], characters: int) -> list[str]:
    """Return about `characters` of prose as lines, from one document or several."""
    lines: list[str] = []
    while (missing := characters - sum(len(line) + 1 for line in lines)) > 0:
        text = chooser.choice(documents)
        start = text.rfind("\n", 0, chooser.randrange(max(1, len(text) - missing))) + 1
        lines += text[start : start + missing].split("\n")
    return lines


def hide(lines: list[str], needles: list[tuple[str, str]], chooser: random.Random) -> str:
    """Return the prose with the first needle before it and each other needle as a line somewhere in it."""
    found = list(lines)
    for key, value in needles[1:]:
        found.insert(chooser.randrange(len(found) + 1), NEEDLE.format(key=key, value=value))
    return "\n".join([NEEDLE.format(key=needles[0][0], value=needles[0][1]), *found])


def make(
    chooser: random.Random, documents: list[str], distance: int, split: str, before: int | None = None
) -> Item:
    """Return an item whose pair stands about `distance` tokens before its answer.

    before: tokens of prose in front of the pair, about; default a few lines, so that it is not always first.
    """
    needles = pairs(chooser, NEEDLES, split)
    characters = chooser.randint(1, 200) if before is None else int(CHARACTERS * before)
    before_it = haystack(chooser, documents, characters)
    text = hide(haystack(chooser, documents, int(CHARACTERS * max(8, distance - 70))), needles, chooser)
    key, value = needles[0]
    prompt = "\n".join([*before_it, text, QUESTION.format(key=key)])
    return Item(
        "recall", prompt, ANSWER.format(key=key, value=value), {"key": f"{key} {value}", "value": value}
    )


def generate(chooser: random.Random, documents: list[str], limit: int, count: Callable[[str], int]) -> Item:
    """Return an eval item whose pair lies up to `limit` tokens back and beyond the bin below."""
    lowest = max((bin for bin in BINS if bin < limit), default=32)
    while True:
        item = make(chooser, documents, chooser.randint(lowest, limit), "eval")
        distance = count(item.prompt.split(f" {item.meta['key']}.", 1)[1]) + 12
        if lowest < distance <= limit:
            return Item(
                item.skill, item.prompt, item.answer, item.meta | {"bin": limit, "distance": distance}
            )


def grade(item: Item, text: str) -> bool:
    """Return whether the text's last word is the value."""
    found = text.replace(".", " ").split()
    return bool(found) and found[-1] == item.meta["value"]
