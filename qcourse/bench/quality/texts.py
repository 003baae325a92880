"""The tokens that the quality bar is measured on: more than the held-out prose has."""

from typing import Any

import torch

from qcourse.common import QCourseError
from qcourse.measure import EvaluationSet

CONTEXT = 512


def evaluation_set(tokenizer: Any, tokens: int) -> tuple[EvaluationSet, int]:
    """Return at least `tokens` predicted tokens in windows of 512, and how many windows are prose.

    First all held-out prose. Where that is too short, the frozen items of the skills follow as chats with
    their right answers (recall apart, whose prompts are the same prose), in windows spread over all of them:
    neither was in training or calibration. Raises QCourseError if even they are too few.
    """
    from qcourse import measure

    wanted = -(-tokens // (CONTEXT - 1))
    prose = measure.evaluation_tokens(tokenizer, None, CONTEXT)
    if len(prose.tokens) >= wanted:
        return measure.evaluation_tokens(tokenizer, wanted, CONTEXT), wanted
    chats = windows(chat_texts(tokenizer), tokenizer, wanted - len(prose.tokens))
    joined = torch.cat([prose.tokens, chats])
    return EvaluationSet(joined, "eval prose, then skills", prose.tokenizer, CONTEXT), len(prose.tokens)


def windows(texts: list[str], tokenizer: Any, wanted: int) -> torch.Tensor:
    """Return `wanted` windows [wanted, 512] spread evenly over the texts' tokens."""
    from qcourse.measure.tokens import join, spread

    stream = join(tokenizer, texts)
    available = len(stream) // CONTEXT
    if available < wanted:
        raise QCourseError(
            f"the quality bar needs {wanted} more windows of {CONTEXT} tokens and the skills hold "
            f"{available}; ask for fewer tokens"
        )
    return torch.stack([stream[i * CONTEXT : (i + 1) * CONTEXT] for i in spread(wanted, available)])


def chat_texts(tokenizer: Any) -> list[str]:
    """Return each skill's frozen items in the tokenizer's chat template, or as two lines without one."""
    from qcourse import skills

    found = []
    for skill in skills.SKILLS:
        for item in skills.items(skill) if skill != "recall" else []:
            chat = [*item.messages, {"role": "assistant", "content": item.answer}]
            bare = f"{item.prompt}\n{item.answer}\n"
            template = tokenizer.chat_template
            found.append(tokenizer.apply_chat_template(chat, tokenize=False) if template else bare)
    return found
