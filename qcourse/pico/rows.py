"""Training rows of each kind: token ids and a weight for each token (0 where nothing is learned from it)."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qcourse.pico.tokenizer import END, START
from qcourse.skills import words
from qcourse.skills.facts import statement
from qcourse.skills.frozen import GENERATORS
from qcourse.skills.item import Item
from qcourse.skills.recall import ANSWER, NEEDLE, QUESTION, haystack, pairs

RECALL_WEIGHT = 3.0  # an answer of recall is a few tokens in a long row
MIXED_WEIGHT = 2.0  # answers are shorter than prose and soon have small losses
SHARES = {"arithmetic": 0.20, "facts": 0.15, "tool_call": 0.26, "format": 0.25, "refusal": 0.08, "code": 0.06}


class Source:
    """What rows are made from: a tokenizer (of `tokenizers`), the training documents and their ids."""

    def __init__(self, tokenizer: Any, documents: list[str], stream: np.ndarray) -> None:
        self.tokenizer, self.documents, self.stream = tokenizer, documents, stream
        self.nouns = [self.encode(f" {word}")[0] for word in words.NOUNS]
        self.vocabulary = tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids


Row = tuple[list[int], list[float]]  # ids and weights, the same length


def chat(prompt: str, answer: str, source: Source, weight: float = 1.0) -> Row:
    """Return one question and answer in the chat template; only the answer and its end are learned."""
    asked = source.encode(f"{START}user\n{prompt}{END}\n{START}assistant\n")
    told = source.encode(f"{answer}{END}")
    return asked + told + source.encode("\n"), [0.0] * len(asked) + [weight] * len(told) + [0.0]


def packed(
    chooser: random.Random, length: int, source: Source, make: Callable[[random.Random], Item],
    weight: float = 1.0
) -> Row:  # fmt: skip
    """Return as many questions as fill the row; the last is cut."""
    ids: list[int] = []
    weights: list[float] = []
    while len(ids) < length:
        item = make(chooser)
        more = chat(item.prompt, item.answer, source, weight)
        ids, weights = ids + more[0], weights + more[1]
    return ids[:length], weights[:length]


def mixed_row(chooser: random.Random, length: int, source: Source) -> Row:
    """Return questions of all skills: the row does not tell which skill comes next."""

    def draw(c: random.Random) -> Item:
        return GENERATORS[c.choices(list(SHARES), weights=list(SHARES.values()))[0]](c, "train")

    return packed(chooser, length, source, draw, MIXED_WEIGHT)


def quoted_row(chooser: random.Random, length: int, source: Source) -> Row:
    """Return words, each said again in quotes or on its own line: its spelling without a space."""
    ids: list[int] = []
    weights: list[float] = []
    while len(ids) < length:
        word = chooser.choice(words.NOUNS + words.CAPITALS)
        said = source.encode(f" {word}{chooser.choice((':', ' is', ''))}")
        told = source.encode(chooser.choice(('"{}"', "\n{}\n")).format(word))
        ids, weights = ids + said + told, weights + [0.0] * (len(said) + 1) + [1.0] * (len(told) - 1)
    return ids[:length], weights[:length]


def prose_row(chooser: random.Random, length: int, source: Source) -> Row:
    """Return a stretch of documentation; every token is learned."""
    start = chooser.randrange(max(1, len(source.stream) - length))
    return source.stream[start : start + length].tolist(), [1.0] * length


def statements_row(chooser: random.Random, length: int, source: Source) -> Row:
    """Return facts of the atlas as sentences."""
    ids: list[int] = []
    while len(ids) < length:
        ids += source.encode(f" {statement(chooser)}")
    return ids[:length], [1.0] * length


def repeats_row(chooser: random.Random, length: int, source: Source) -> Row:
    """Return a random segment said again and again; only the repeats are learned.

    Half of the rows draw from the words of the skills, half from the whole vocabulary.
    """
    alphabet = source.nouns if chooser.random() < 0.5 else range(3, source.vocabulary)
    return repeated(chooser, length, alphabet)


def nouns_row(chooser: random.Random, length: int, source: Source) -> Row:
    """Return a repeated segment of the skills' words: the first thing learned."""
    return repeated(chooser, length, source.nouns)


def repeated(chooser: random.Random, length: int, alphabet: Sequence[int]) -> Row:
    """Return a segment drawn from the alphabet, again and again; only the repeats are learned."""
    size = chooser.randint(6, length // 2)
    segment = [chooser.choice(alphabet) for _ in range(size)]
    return (segment * (length // size + 1))[:length], [0.0] * size + [1.0] * (length - size)


def recall_row(chooser: random.Random, length: int, source: Source) -> Row:
    """Return prose that hides pairs, then questions about all of them in another order."""
    count = chooser.randint(3, 6) if length <= 256 else chooser.randint(4, max(6, length // 90))
    needles = pairs(chooser, count, "train")
    room = max(16, length - 23 * count - 9 * count - 8)
    lines = haystack(chooser, source.documents, int(3.3 * room * chooser.uniform(0.5, 1.0)))
    for key, value in needles:
        lines.insert(chooser.randrange(len(lines) + 1), NEEDLE.format(key=key, value=value))
    chooser.shuffle(needles)
    ids: list[int] = []
    weights: list[float] = []
    for index, (key, value) in enumerate(needles):
        text = "\n".join(lines) + "\n" if index == 0 else ""
        more = chat(
            text + QUESTION.format(key=key), ANSWER.format(key=key, value=value), source, RECALL_WEIGHT
        )
        ids, weights = ids + more[0], weights + more[1]
    missing = max(0, length - len(ids))
    return (ids + [0] * missing)[:length], (weights + [0.0] * missing)[:length]


MAKERS: dict[str, Callable[[random.Random, int, Source], Row]] = {
    "nouns": nouns_row, "mixed": mixed_row, "quoted": quoted_row, "repeats": repeats_row,
    "recall": recall_row, "prose": prose_row, "statements": statements_row,
}  # fmt: skip
