"""What a fine-tuned model must not forget: rows of the old skills' training items and of training prose."""

import random
from typing import Any

PROSE_LENGTH = 64  # tokens
OFTENER = {"arithmetic": 3}  # its answers are chains of fifty tokens: one that slips spoils the result
RECALL_DISTANCE = 90  # tokens: longer rows would cost more than all others together


def rows(base: Any, per_skill: int = 100, stretches: int = 150, seed: int = 0) -> list:
    """Return training rows of the skills that `base` has, and stretches of prose; none is evaluated on.

    base: a LoadedModel. A skill that the model was never taught is not replayed.
    """
    from qcourse import finetune, skills
    from qcourse.finetune.answers import TokenizedExample
    from qcourse.skills import units

    found = []
    for skill in skills.applicable(base.name):
        drawn = training_items(skill, per_skill * OFTENER.get(skill, 1), seed)
        items = [units.Example(item.prompt, item.answer) for item in drawn]
        found += finetune.encode(base.tokenizer, items)
    draw, texts = random.Random(seed), skills.prose("calibration")
    for _ in range(stretches):
        ids = base.tokenizer(draw.choice(texts), add_special_tokens=False)["input_ids"]
        start = draw.randrange(max(1, len(ids) - PROSE_LENGTH))
        found.append(TokenizedExample(ids[start : start + PROSE_LENGTH], 0))
    return found


def training_items(skill: str, n: int, seed: int = 0) -> list:
    """Return items from the training part of a skill's generator; recall at a short distance."""
    from qcourse import skills
    from qcourse.skills import recall

    if skill != "recall":
        return skills.items(skill, n, "train")
    draw, texts = random.Random(seed), skills.prose("calibration")
    return [recall.make(draw, texts, RECALL_DISTANCE, "train") for _ in range(n)]
