"""The skills of a model, asked through any source, with 95% intervals; "not applicable" is never 0%."""

from typing import Any

from qcourse.common import QCourseError
from qcourse.common.display import interval
from qcourse.measure.in_memory import as_source
from qcourse.measure.likelihood import chosen
from qcourse.measure.statistics import Estimate, share
from qcourse.skills import PREFIX, SKILLS, Item, items, score
from qcourse.skills.general import chance, choices

NOT_APPLICABLE = "not applicable"


def skill_scores(model: Any, asked: tuple[str, ...], n: int = 50, tokenizer: Any = None) -> dict:
    """Ask n questions of each skill and mark the answers.

    model: a source with `.generate(messages, max_new_tokens)`, or a loaded model with its tokenizer.
    asked: what `qcourse.skills.asked_of` says of it: pico's skills, answered greedily and graded, or the
    general choices ("choice:recall"), picked by likelihood, for which sources need `tokenizer`.
    Returns {"skills": {skill: accuracy or a word}, "intervals": {skill: [low, high]}, "n": {skill: number},
    "marks": {skill: [bool]}} and score's further splits. The word is "not applicable" for a skill of pico's
    that the model was not taught, and "no signal" where guessing does as well.
    """
    source = as_source(model)
    picked = tuple(skill for skill in asked if skill.startswith(PREFIX))
    questions = [item for skill in asked if skill not in picked for item in items(skill, n)]
    found = score(lambda batch: answers(source, batch), questions)
    marks = by_skill(questions, found["marks"]) | choice_marks(source, picked, n, tokenizer)
    shares = {skill: share(row) for skill, row in marks.items()}
    known = {skill: accuracy_or_word(skill, shares[skill], n) for skill in marks}
    return {
        "skills": ({} if picked else dict.fromkeys(SKILLS, NOT_APPLICABLE)) | known,
        "intervals": {skill: [estimate.low, estimate.high] for skill, estimate in shares.items()},
        "n": {skill: len(row) for skill, row in marks.items()},
        "marks": marks,
        "recall_by_distance": found["recall_by_distance"],
        "refusal_by_direction": found["refusal_by_direction"],
    }


def choice_marks(source: Any, picked: tuple[str, ...], n: int, tokenizer: Any) -> dict[str, list[bool]]:
    """Return, for each general skill, whether the right candidate was the most likely one."""
    tokenizer = tokenizer or getattr(source, "tokenizer", None)
    if picked and tokenizer is None:
        raise QCourseError("choices are asked in the model's own tokens; give its tokenizer")
    questions = {skill: choices(skill.removeprefix(PREFIX), n) for skill in picked}
    return {
        skill: [index == 0 for index in chosen(source, tokenizer, asked)]
        for skill, asked in questions.items()
    }


def accuracy_or_word(skill: str, estimate: Estimate, n: int) -> float | str:
    """Return a skill's accuracy, or for a choice no better than guessing the word that it tells nothing."""
    if not skill.startswith(PREFIX):
        return estimate.value
    guessing = chance(skill.removeprefix(PREFIX), n)
    if estimate.low > guessing:
        return estimate.value
    return f"no signal: {estimate.value:.0%}, guessing gives {guessing:.0%}"


def answers(source: Any, questions: list[Item]) -> list[str]:
    """Return a source's greedy answers to items."""
    if not questions:
        return []
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
        elif isinstance(accuracy, str):
            lines.append(f"{skill:<17} {accuracy}")
        else:
            ends = interval(result["intervals"][skill], share=True)
            lines.append(f"{skill:<11} {accuracy:6.1%} {ends} n={result['n'][skill]}")
    return "\n".join(lines)
