"""One graded question, the same for every skill."""

import hashlib
import random
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Item:
    """A question with its exact answer; `meta` holds what the grader needs beyond the answer."""

    skill: str
    prompt: str
    answer: str
    meta: dict = field(default_factory=dict)

    @property
    def messages(self) -> list[dict[str, str]]:
        """Return the question as chat messages."""
        return [{"role": "user", "content": self.prompt}]

    @property
    def max_new_tokens(self) -> int:
        """Return how many tokens any right answer fits in, with room for a wrong one to show itself."""
        return MAX_NEW_TOKENS[self.skill]

    @property
    def key(self) -> str:
        """Return what decides whether the item is for training or evaluation."""
        return self.meta.get("key", self.prompt)


MAX_NEW_TOKENS = {
    "recall": 12, "arithmetic": 72, "facts": 16, "tool_call": 64, "format": 48, "refusal": 28, "code": 40,
}  # fmt: skip
EVAL_PERCENT = 8


def percent(key: str) -> int:
    """Return a number in 0..99 that depends on the key alone."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100


def is_eval(key: str) -> bool:
    """Return whether a key belongs to the part of a generator's space that only evaluation draws from."""
    return percent(key) < EVAL_PERCENT


def draw(make, chooser: random.Random, split: str) -> Item:
    """Return the first item of `make(chooser)` that belongs to `split` ("train" or "eval")."""
    while True:
        item = make(chooser)
        if is_eval(item.key) == (split == "eval"):
            return item
