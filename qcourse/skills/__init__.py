"""Eight skills with exact ground truth: generators, frozen items and graders."""

from qcourse.skills.frozen import SKILLS, items
from qcourse.skills.general import PREFIX
from qcourse.skills.generation import generate
from qcourse.skills.grading import applicable, asked_of, grade, score, wilson
from qcourse.skills.item import Item
from qcourse.skills.prose import prose

__all__ = [
    "PREFIX", "SKILLS", "Item", "applicable", "asked_of", "generate", "grade", "items", "prose", "score",
    "wilson",
]  # fmt: skip
