"""Code: a question is answered by one Python expression, graded by its value on several inputs."""

import random

from qcourse.common.tables import data_table
from qcourse.skills.evaluator import Refused, evaluate
from qcourse.skills.item import Item

TABLE = data_table("skills.yaml")["code"]
NAMES, FOLDS, FILTERS, MAPS = (TABLE[name] for name in ("names", "folds", "filters", "maps"))
PHRASINGS, INPUTS = TABLE["phrasings"], TABLE["inputs"]


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
