"""The closed word lists of the generated skills; with a space before it, each word is one token of pico."""

import random

from qcourse.common.tables import data_table

LISTS = data_table("skills.yaml")["words"]
NOUNS, METALS, ANIMALS = (tuple(LISTS[name].split()) for name in ("nouns", "metals", "animals"))
SYLLABLES = tuple(tuple(line.split()) for line in LISTS["syllables"])


def invented_names(count: int, seed: int) -> list[str]:
    """Return `count` distinct invented place names, the same for the same seed."""
    chooser = random.Random(seed)
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(chooser.choice(part) for part in SYLLABLES)] = None
    return list(names)


_NAMES = invented_names(192, seed=7)
PLACES, CAPITALS, RIVERS = tuple(_NAMES[:64]), tuple(_NAMES[64:128]), tuple(_NAMES[128:])
