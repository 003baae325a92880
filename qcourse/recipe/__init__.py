"""What to do to a model, by name and as JSON, and which engine can load the result."""

from qcourse.recipe.compatibility import check_engine, compatibility, table
from qcourse.recipe.names import KNOWN, named
from qcourse.recipe.recipe import METHODS, TRANSFORMS, Recipe, matches
from qcourse.recipe.record import read_recipe, read_record

__all__ = [
    "KNOWN",
    "METHODS",
    "TRANSFORMS",
    "Recipe",
    "check_engine",
    "compatibility",
    "matches",
    "named",
    "read_recipe",
    "read_record",
    "table",
]
