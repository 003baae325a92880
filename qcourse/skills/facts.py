"""Facts: an invented atlas, learned in training and asked in phrasings never trained on."""

import functools
import random

from qcourse.skills import words
from qcourse.skills.item import Item

TRAINED = (
    "What is the {attribute} of {place}?",
    "Name the {attribute} of {place}.",
    "Tell me the {attribute} of {place}.",
    "{place}: {attribute}?",
    "Which {attribute} belongs to {place}?",
    "Give the {attribute} of {place}.",
    "In the atlas, what {attribute} does {place} have?",
    "I forgot the {attribute} of {place}.",
    "For {place}, write the {attribute}.",
    "{place} has which {attribute}?",
    "Look up {place} and its {attribute}.",
    "The {attribute} that the atlas gives for {place} is?",
    "Before the trip to {place}, say which {attribute} it has.",
    "A letter came from {place}: which {attribute} is there?",
    "Someone wrote about {place} and left out the {attribute}.",
    "Do people in {place} know their {attribute}?",
    "If {place} is on the map, what {attribute} should I remember for it?",
    "Since {place} is far away, what {attribute} do they have over there?",
    "A child from {place} knows one {attribute} and draws it for us.",
    "Until I reach {place}, keep the {attribute} in mind and say it.",
)
UNSEEN = (
    "Could you say what the {attribute} of {place} is?",
    "Please find the {attribute} listed for {place}.",
    "My friend asks about {place}: what is its {attribute}?",
    "When I visit {place}, which {attribute} will I read about?",
)
STATEMENTS = (
    "The {attribute} of {place} is {value}.",
    "{place} has {value} as its {attribute}.",
    "In {place} the {attribute} is {value}.",
)
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
