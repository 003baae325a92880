"""What to do to a model, by name and as JSON, which engine can load the result, and what was done."""

from qcourse.recipe.compatibility import check_engine, check_form, compatibility, table
from qcourse.recipe.fit import fit
from qcourse.recipe.names import KNOWN
from qcourse.recipe.overrides import matches
from qcourse.recipe.recipe import Recipe, named
from qcourse.recipe.vocabulary import FORMATS, METHODS, TRANSFORMS

__all__ = [
    "FORMATS", "KNOWN", "METHODS", "TRANSFORMS", "Recipe", "check_engine", "check_form", "compatibility",
    "fit", "matches", "named", "table",
]  # fmt: skip
