"""The skills of a model, asked through any source, with 95% intervals; "not applicable" is never 0%."""

from typing import Any

from qcourse.common.display import interval
from qcourse.measure.sources import as_source
from qcourse.skills import SKILLS, Item, items, score

NOT_APPLICABLE = "not applicable"


def skill_scores(model: Any, asked: tuple[str, ...], n: int = 50) -> dict:
    """Ask n frozen items of each skill in `asked`, greedily, and grade the answers.

    model: a source with `.generate(messages, max_new_tokens)`, or a loaded model with its tokenizer.
    asked: the skills that the model was taught, as `qcourse.skills.applicable` says; others do not apply.
    Returns {"skills": {skill: accuracy or "not applicable"}, "intervals": {skill: [low, high]},
    "n": {skill: items}, "marks": {skill: [bool]}}, and score's further splits.
    """
    source = as_source(model)
    questions = [item for skill in asked for item in items(skill, n)]
    found = score(lambda batch: answers(source, batch), questions)
    return {
        "skills": dict.fromkeys(SKILLS, NOT_APPLICABLE)
        | {skill: row["accuracy"] for skill, row in found["skills"].items()},
        "intervals": {skill: row["interval"] for skill, row in found["skills"].items()},
        "n": {skill: row["n"] for skill, row in found["skills"].items()},
        "marks": by_skill(questions, found["marks"]),
        "recall_by_distance": found["recall_by_distance"],
        "refusal_by_direction": found["refusal_by_direction"],
    }


def answers(source: Any, questions: list[Item]) -> list[str]:
    """Return a source's greedy answers to items."""
    return source.generate([item.messages for item in questions], [item.max_new_tokens for item in questions])


def by_skill(asked: list[Item], marks: list[bool]) -> dict[str, list[bool]]:
    """Return each skill's marks in the order of its items, for paired comparisons."""
    found: dict[str, list[bool]] = {}
    for item, mark in zip(asked, marks, strict=True):
        found.setdefault(item.skill, []).append(mark)
    return found


def describe(result: dict) -> str:
    """Return one line a skill: accuracy, interval, number of items."""
    lines = []
    for skill, accuracy in result["skills"].items():
        if accuracy == NOT_APPLICABLE:
            lines.append(f"{skill:<11} {NOT_APPLICABLE}: this model was not taught it")
        else:
            ends = interval(result["intervals"][skill], share=True)
            lines.append(f"{skill:<11} {accuracy:6.1%} {ends} n={result['n'][skill]}")
    return "\n".join(lines)
