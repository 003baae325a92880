"""Output format: the given words, laid out exactly as asked."""

import json
import random

from qcourse.skills import words
from qcourse.skills.item import Item

LAYOUTS = {
    "bullets": ("a bullet list", lambda w: "\n".join(f"- {x}" for x in w)),
    "numbered": ("a numbered list", lambda w: "\n".join(f"{i}. {x}" for i, x in enumerate(w, 1))),
    "commas": ("one line with commas", ", ".join),
    "semicolons": ("one line with semicolons", "; ".join),
    "json": ("a JSON array", json.dumps),
    "brackets": ("words in brackets", lambda w: " ".join(f"[ {x} ]" for x in w)),
    "table": ("a table row", lambda w: "| " + " | ".join(w) + " |"),
    "reversed": ("one reversed line with commas", lambda w: ", ".join(reversed(w))),
}
PHRASINGS = (
    "Write {words} as {layout}.",
    "Give me {words} as {layout}.",
    "Turn {words} into {layout}.",
    "Show {words} as {layout}.",
)


def make(chooser: random.Random) -> Item:
    """Return one request of two to five words and a layout."""
    layout = chooser.choice(list(LAYOUTS))
    name, lay = LAYOUTS[layout]
    chosen = chooser.sample(words.NOUNS, chooser.randint(2, 5))
    listed = " and ".join([", ".join(chosen[:-1]), chosen[-1]])
    prompt = chooser.choice(PHRASINGS).format(words=listed, layout=name)
    return Item("format", prompt, lay(chosen), {"key": f"{layout} {' '.join(chosen)}"})


def grade(item: Item, text: str) -> bool:
    """Return whether the text is the layout, character by character (outer white space aside)."""
    return text.strip() == item.answer
