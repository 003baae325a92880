"""Grading: which answer is right, which skills a model can be asked, and the score of a whole run."""

import math
from collections.abc import Callable, Iterable

from qcourse.skills import arithmetic, code, facts, format, recall, refusal, tool_call
from qcourse.skills.frozen import SKILLS
from qcourse.skills.general import GENERAL, PREFIX
from qcourse.skills.item import Item

GRADERS = {
    "recall": recall.grade, "arithmetic": arithmetic.grade, "facts": facts.grade,
    "tool_call": tool_call.grade, "format": format.grade, "refusal": refusal.grade, "code": code.grade,
}  # fmt: skip
PICO_ONLY = ("facts", "tool_call", "refusal")  # atlas, tools and wording of a refusal: taught to pico alone


def grade(item: Item, text: str) -> bool:
    """Return whether `text`, a model's answer without the end-of-turn token, is right."""
    return GRADERS[item.skill](item, text)


def applicable(model: str | bool) -> tuple[str, ...]:
    """Return the skills that can be asked of a model.

    model: its name or path, or whether it was trained on our curriculum. A model
    counts as pico when its name holds "pico"; for others three skills are "not
    applicable", never 0%.
    """
    knows = model if isinstance(model, bool) else "pico" in str(model).lower()
    return SKILLS if knows else tuple(skill for skill in SKILLS if skill not in PICO_ONLY)


def asked_of(model: str | bool, chat: bool = True) -> tuple[str, ...]:
    """Return what a model is asked in an evaluation: pico its own skills, any other the general choices.

    chat: whether it has a chat template, without which it is not asked to refuse.
    """
    taught = applicable(model)
    if taught == SKILLS:
        return SKILLS
    return tuple(f"{PREFIX}{skill}" for skill in GENERAL if chat or skill != "refusal")


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson interval of a share of `right` in `n`; (0, 1) for no items."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    found = binomtest(right, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def share(marks: Iterable[bool]) -> dict:
    """Return {"accuracy", "interval", "n"} of a list of marks; the interval is Wilson's at 95%."""
    marks = list(marks)
    right, n = sum(marks), len(marks)
    return {"accuracy": right / n if n else math.nan, "interval": list(wilson(right, n)), "n": n}


def score(generate: Callable[[list[Item]], list[str]], items: list[Item]) -> dict:
    """Ask every item and grade the answers.

    generate: items in, answers out, in the same order (a local model, or a server over HTTP).
    Returns {"skills": {skill: {"accuracy", "interval", "n"}}, "recall_by_distance": {bin: ...},
    "refusal_by_direction": {...}, "answers": [...], "marks": [...]}.
    """
    answers = generate(items)
    marks = [grade(item, text) for item, text in zip(items, answers, strict=True)]
    marked = list(zip(items, marks, strict=True))
    return {
        "skills": {
            skill: share(m for item, m in marked if item.skill == skill)
            for skill in dict.fromkeys(item.skill for item in items)
        },
        "recall_by_distance": _split(marked, "recall", "bin"),
        "refusal_by_direction": _split(marked, "refusal", "harmful"),
        "answers": answers,
        "marks": marks,
    }


def _split(marked: list[tuple[Item, bool]], skill: str, field: str) -> dict:
    """Return the share of each value of a meta field within a skill, keyed by its text."""
    values = sorted({item.meta[field] for item, _ in marked if item.skill == skill})
    return {
        str(value).lower(): share(
            m for item, m in marked if item.skill == skill and item.meta[field] == value
        )
        for value in values
    }
