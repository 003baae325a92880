"""Few-shot questions of the general skills, each as (question, right answer, wrong ones)."""

import json
import random
from collections.abc import Callable

from qcourse.skills import code, facts, format, tool_call, words
from qcourse.skills.evaluator import Refused, evaluate


def copying(chooser: random.Random) -> tuple[str, str, list[str]]:
    """A line of words to repeat; wrong: two swapped, one replaced, reversed."""
    line = chooser.sample(words.NOUNS, 5)
    first, second = chooser.sample(range(5), 2)
    swapped, replaced = list(line), list(line)
    swapped[first], swapped[second] = line[second], line[first]
    replaced[first] = chooser.choice([word for word in words.NOUNS if word not in line])
    wrong = [" ".join(other) for other in (swapped, replaced, line[::-1]) if other != line]
    return f"Line: {' '.join(line)}\nCopy:", " ".join(line), list(dict.fromkeys(wrong))


def arithmetic(chooser: random.Random) -> tuple[str, str, list[str]]:
    """A sum or difference below 200; wrong: one off, ten off, the other operation."""
    a, b, sign = chooser.randint(10, 99), chooser.randint(2, 9), chooser.choice("+-")
    value, other = (a + b, a - b) if sign == "+" else (a - b, a + b)
    wrong = {value + chooser.choice((-1, 1)), value + 10, other} - {value}
    return f"{a} {sign} {b} =", str(value), [str(each) for each in sorted(wrong)]


def extraction(chooser: random.Random) -> tuple[str, str, list[str]]:
    """A sentence as JSON; wrong: numbers exchanged, another item, another buyer."""
    buyer, item, stranger = chooser.sample(words.NOUNS, 3)
    count, price = chooser.sample(range(2, 40), 2)
    truth = {"buyer": buyer, "item": item, "count": count, "price": price}
    changes = ({"count": price, "price": count}, {"item": stranger}, {"buyer": stranger})
    text = f"Text: The {buyer} bought {count} pieces of {item} for {price} euros.\nJSON:"
    return text, json.dumps(truth), [json.dumps(truth | change) for change in changes]


def calling(chooser: random.Random) -> tuple[str, str, list[str]]:
    """A request as a tool call; wrong: another tool, another value, both."""
    item = tool_call.make(chooser)
    call = item.meta["call"]
    tool = chooser.choice([name for name in tool_call.PHRASINGS if name != call["tool"]])
    name = chooser.choice(list(call["arguments"]))
    value = call["arguments"][name]
    other = value + 1 if isinstance(value, int) else chooser.choice(words.CAPITALS)
    changed = call["arguments"] | {name: other}
    wrong = [{"tool": tool, "arguments": call["arguments"]}, {"tool": call["tool"], "arguments": changed},
             {"tool": tool, "arguments": changed}]  # fmt: skip
    return f"Request: {item.prompt}\nCall:", item.answer, [json.dumps(each) for each in wrong]


def layout(chooser: random.Random) -> tuple[str, str, list[str]]:
    """Words in a layout asked for; wrong: three other layouts of the same words."""
    item = format.make(chooser)
    name, *chosen = item.meta["key"].split()
    others = [lay(chosen) for key, (_, lay) in format.LAYOUTS.items() if key != name]
    return (
        f"Request: {item.prompt}\nAnswer:",
        item.answer,
        chooser.sample(sorted(set(others) - {item.answer}), 3),
    )


def coding(chooser: random.Random) -> tuple[str, str, list[str]]:
    """A one-line expression; wrong: expressions of other tasks that give other values."""
    item = code.make(chooser)
    truth, wrong = values_of(item.answer, item.meta["name"]), {}
    while len(wrong) < 3:
        other = code.make(chooser).answer
        found = values_of(other, next(name for name in code.NAMES if name in other))
        if found != truth:
            wrong[other] = found
    renamed = [text.replace(next(n for n in code.NAMES if n in text), item.meta["name"]) for text in wrong]
    return f"Task: {item.prompt}\nPython:", item.answer, renamed


def values_of(expression: str, name: str) -> list[object]:
    """Return what an expression of ours gives on every input; [] if it cannot be evaluated."""
    try:
        return [evaluate(expression, {name: list(numbers)}) for numbers in code.INPUTS]
    except Refused:
        return []


def reading(chooser: random.Random) -> tuple[str, str, list[str]]:
    """A fact stated among others in the prompt; wrong: the values of the other statements."""
    attribute = chooser.choice(("capital", "river"))
    places = chooser.sample(words.PLACES, 4)
    values = [facts.atlas()[place, attribute] for place in places]
    told = [facts.ANSWER.format(attribute=attribute, place=place, value=value)
            for place, value in zip(places, values, strict=True)]  # fmt: skip
    text = " ".join(chooser.sample(told, len(told)))
    return f"Text: {text}\nQuestion: What is the {attribute} of {places[0]}?\nAnswer:", values[0], values[1:]


FEW_SHOT: dict[str, Callable] = {
    "copying": copying, "arithmetic": arithmetic, "extraction": extraction, "tool_call": calling,
    "format": layout, "code": coding, "reading": reading,
}  # fmt: skip
