"""Tool calls: a request becomes one JSON object that names the tool and its arguments."""

import json
import random

from qcourse.common.tables import data_table
from qcourse.skills import words
from qcourse.skills.item import Item

UNITS = ("celsius", "fahrenheit")
PHRASINGS = data_table("skills.yaml")["tool_call"]


def arguments(tool: str, chooser: random.Random) -> dict[str, object]:
    """Return drawn arguments of a tool, in the order of its signature."""
    noun = lambda: chooser.choice(words.NOUNS)  # noqa: E731
    phrase = lambda: " ".join(chooser.sample(words.NOUNS, chooser.randint(2, 3)))  # noqa: E731
    return {
        "get_weather": lambda: {"city": chooser.choice(words.CAPITALS), "unit": chooser.choice(UNITS)},
        "set_timer": lambda: {"minutes": chooser.randint(2, 99), "label": noun()},
        "send_message": lambda: {"to": noun(), "text": phrase()},
        "play_song": lambda: {"title": noun(), "times": chooser.randint(2, 9)},
        "add_note": lambda: {"title": noun(), "text": phrase()},
    }[tool]()


def schema() -> dict[str, object]:
    """Return the JSON schema of every call, for engines that constrain what they say to one."""
    kinds = {int: {"type": "integer"}, str: {"type": "string"}}
    calls = []
    for tool in PHRASINGS:
        values = {name: kinds[type(value)] for name, value in arguments(tool, random.Random(0)).items()}
        calls.append(closed({"tool": {"const": tool}, "arguments": closed(values)}))
    return {"anyOf": calls}


def closed(properties: dict[str, object]) -> dict[str, object]:
    """Return the JSON schema of an object with just these properties."""
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}  # fmt: skip


def make(chooser: random.Random) -> Item:
    """Return one request and its call."""
    tool = chooser.choice(list(PHRASINGS))
    values = arguments(tool, chooser)
    call = {"tool": tool, "arguments": values}
    prompt = chooser.choice(PHRASINGS[tool]).format(**values)
    answer = json.dumps(call)
    return Item("tool_call", prompt, answer, {"key": answer, "call": call})


def grade(item: Item, text: str) -> bool:
    """Return whether the whole text is JSON equal to the call."""
    try:
        return json.loads(text.strip()) == item.meta["call"]
    except (ValueError, RecursionError):
        return False
