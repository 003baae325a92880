"""Whether a recipe fits the widths of a model: asked by quantize, the planner and whoever names a recipe."""

import math
from collections.abc import Mapping
from dataclasses import replace

from qcourse.common import QCourseError
from qcourse.recipe.overrides import check_overrides_meet
from qcourse.recipe.recipe import Recipe
from qcourse.recipe.vocabulary import GROUP_SIZES, METHODS

SMALL_BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL")


def fit(recipe: Recipe, columns: Mapping[str, int]) -> Recipe:
    """Return the recipe as it can be carried out: with the largest usual group that fits where none is named.

    columns: full name of a linear -> its in_features. Engines take 128, 64 and 32; a model that none divides
    gets one scale a row. Raises QCourseError where a group size was named that does not divide, offering
    those that do, and for a GGUF type whose blocks do not.
    """
    if recipe.group_size is None:
        names = [name for name in columns if (chosen := recipe.for_layer(name)) and chosen.group_size is None]
        widths = [columns[name] for name in names]
        size = next((size for size in GROUP_SIZES if all(width % size == 0 for width in widths)), -1)
        recipe = replace(recipe, group_size=size)
    check_overrides_meet(recipe.overrides, columns)
    bad: dict[int, str] = {}
    for name, width in columns.items():
        chosen = recipe.for_layer(name)
        if chosen is not None and not divides(chosen, width):
            bad.setdefault(width, name)
    if bad:
        raise QCourseError(group_sentence(recipe, bad))
    return recipe


def divides(recipe: Recipe, columns: int) -> bool:
    """Return whether the recipe's groups fill rows of `columns` weights."""
    if recipe.method == "gguf":
        return columns % gguf_block(recipe.variant) == 0
    size = recipe.group_size
    return not METHODS[recipe.method].whole_groups or size in (None, -1) or columns % size == 0


def gguf_block(kind: str) -> int:
    """Return how many columns the blocks of a GGUF file type take together: 256, 32 or 1."""
    if kind in ("F16", "BF16"):
        return 1
    return 32 if kind.startswith(SMALL_BLOCKS) else 256


def group_sentence(recipe: Recipe, bad: Mapping[int, str]) -> str:
    """Say which widths the group size does not divide, and which sizes would work for all of those.

    bad: width -> the first linear that has it. The sizes that engines take come first.
    """
    widths = ", ".join(f"{columns} columns ({name})" for columns, name in sorted(bad.items()))
    if recipe.method == "gguf":
        return (
            f"{recipe.variant} takes {gguf_block(recipe.variant)} columns together, which do not divide "
            f"{widths}; {', '.join(SMALL_BLOCKS)} take 32, and --allow-fallback lets llama.cpp take one there"
        )
    if METHODS[recipe.method].group_size is not None:
        fix = f"{recipe.method} has groups of {recipe.group_size} only: keep those layers with an override"
    else:
        common = math.gcd(*bad)
        usual = [size for size in GROUP_SIZES if common % size == 0]
        others = [
            size for size in range(min(common, 1024), 1, -1) if common % size == 0 and size not in usual
        ]
        usable = ", ".join(map(str, [*usual, *others][:6]))
        fix = f"these divide: {usable or 'none'}, or -1 for one scale a row"
    return f"group size {recipe.group_size} does not divide {widths}; {fix}"
