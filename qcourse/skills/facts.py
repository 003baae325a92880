"""Facts: an invented atlas, learned in training and asked in phrasings never trained on."""

import functools
import random

from qcourse.common.tables import data_table
from qcourse.skills import words
from qcourse.skills.item import Item

TABLE = data_table("skills.yaml")["facts"]
TRAINED, UNSEEN, STATEMENTS = (tuple(TABLE[name]) for name in ("trained", "unseen", "statements"))
ANSWER = "The {attribute} of {place} is {value}."


@functools.cache
def atlas() -> dict[tuple[str, str], str]:
    """Return (place, attribute) -> value for 64 invented places: capital, river, metal, animal."""
    chooser = random.Random(11)
    facts = {}
    for index, place in enumerate(words.PLACES):
        facts[place, "capital"] = words.CAPITALS[index]
        facts[place, "river"] = words.RIVERS[index]
        facts[place, "metal"] = chooser.choice(words.METALS)
        facts[place, "animal"] = chooser.choice(words.ANIMALS)
    return facts


def make(chooser: random.Random, phrasings: tuple[str, ...]) -> Item:
    """Return one question about the atlas in one of the phrasings."""
    (place, attribute), value = chooser.choice(list(atlas().items()))
    phrasing = chooser.choice(phrasings)
    blanks = {"place": place, "attribute": attribute, "value": value}
    return Item(
        "facts", phrasing.format(**blanks), ANSWER.format(**blanks), {"key": phrasing, "value": value}
    )


def generate(chooser: random.Random, split: str) -> Item:
    """Return an item of a split: the same facts, other phrasings."""
    return make(chooser, UNSEEN if split == "eval" else TRAINED)


def statement(chooser: random.Random) -> str:
    """Return one fact as a sentence."""
    (place, attribute), value = chooser.choice(list(atlas().items()))
    return chooser.choice(STATEMENTS).format(place=place, attribute=attribute, value=value)


def grade(item: Item, text: str) -> bool:
    """Return whether the text names the value and no other value of the atlas."""
    named = {word.strip(".,;:!?\"'") for word in text.split()} & set(atlas().values())
    return named == {item.meta["value"]}
