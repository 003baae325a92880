"""Code: a question is answered by one Python expression, graded by its value on several inputs."""

import random

from qcourse.skills.evaluator import Refused, evaluate
from qcourse.skills.item import Item

NAMES = ("values", "numbers", "items", "data", "scores")
FOLDS = {
    "the sum of": "sum({})", "the largest of": "max({})", "the smallest of": "min({})",
    "the count of": "len([{}])", "a list of": "[{}]", "a sorted list of": "sorted({})",
}  # fmt: skip
FILTERS = {
    "the even numbers in": "x % 2 == 0", "the odd numbers in": "x % 2 == 1",
    "the numbers above {k} in": "x > {k}", "the numbers below {k} in": "x < {k}",
    "the multiples of {k} in": "x % {k} == 0", "the numbers in": "",
}  # fmt: skip
MAPS = {
    "": "x", "twice ": "x * 2", "the square of ": "x ** 2", "{m} plus ": "x + {m}", "{m} times ": "x * {m}",
}  # fmt: skip
PHRASINGS = (
    "Write Python for {task}.",
    "Give one line of Python: {task}.",
    "Which Python expression gives {task}?",
)
INPUTS = (
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 20, 21, 30],
    [36, 9, 14, 27, 2, 40, 5, 11, 60, 1, 8, 24],
    [5, 70, 3, 18, 10, 45, 2, 12, 63, 80, 7, 16, 1],
)


def make(chooser: random.Random) -> Item:
    """Return one task (a fold of a mapped and filtered list) and its expression."""
    name, fold = chooser.choice(NAMES), chooser.choice(list(FOLDS))
    choose, change = chooser.choice(list(FILTERS)), chooser.choice(list(MAPS))
    k, m = chooser.randint(3, 9), chooser.randint(3, 9)
    task = f"{fold} {change}{choose} {name}".format(k=k, m=m)
    condition = FILTERS[choose].format(k=k)
    body = f"{MAPS[change].format(m=m)} for x in {name}" + (f" if {condition}" if condition else "")
    meta = {"key": task, "name": name}
    return Item("code", chooser.choice(PHRASINGS).format(task=task), FOLDS[fold].format(body), meta)


def grade(item: Item, text: str) -> bool:
    """Return whether the text is an expression with the right value on every input; it is never executed."""
    try:
        return all(_value(text, item, numbers) == _value(item.answer, item, numbers) for numbers in INPUTS)
    except Refused:
        return False


def _value(text: str, item: Item, numbers: list[int]) -> object:
    return evaluate(text.strip(), {item.meta["name"]: list(numbers)})
