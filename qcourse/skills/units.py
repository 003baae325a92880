"""The skill that QLoRA teaches: converting units and saying the result in words, with exact ground truth."""

import random
from dataclasses import dataclass

from qcourse.common.tables import data_table

TABLE = data_table("skills.yaml")["units"]
ONES, TENS, CONVERSIONS = TABLE["ones"].split(), TABLE["tens"].split(), TABLE["conversions"]


@dataclass(frozen=True)
class Example:
    """One question and its only correct answer."""

    question: str
    answer: str


def in_words(number: int) -> str:
    """Return an integer from 1 to 99 in English words, such as 'forty-two'."""
    if not 1 <= number <= 99:
        raise ValueError(f"in_words takes 1 to 99, not {number}")
    if number < 20:
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens] + (f"-{ONES[ones]}" if ones else "")


def item(number: int, conversion: list[str]) -> Example:
    """Return a question for `number` of a unit and its answer. conversion: unit, target, its factor."""
    unit, target, factor = conversion
    return Example(f"Convert {number} {unit} to {target}, in words.", f"{in_words(number)} {factor} {target}")


def items(split: str, n: int | None = None, seed: int = 20261120) -> list[Example]:
    """Return up to `n` items of "train" or "eval"; the two splits share no (number, unit) pair.

    Every seventh pair of a seeded shuffle is held out: all number words and all
    units occur in training, so that the evaluation asks for their combination.
    """
    if split not in {"train", "eval"}:
        raise ValueError(f"split is 'train' or 'eval', not {split!r}")
    pairs = [(number, conversion) for number in range(1, 100) for conversion in CONVERSIONS]
    random.Random(seed).shuffle(pairs)
    held_out = {index for index in range(len(pairs)) if index % 7 == 0}
    chosen = [pair for index, pair in enumerate(pairs) if (index in held_out) == (split == "eval")]
    return [item(*pair) for pair in chosen[:n]]
