"""Which settings of a recipe go together."""

import math
from dataclasses import replace

from qcourse.common import QCourseError
from qcourse.recipe.field_types import check_type, check_types
from qcourse.recipe.recipe import (
    ACT_ORDERS,
    INTEGER_METHODS,
    METHODS,
    OVERRIDABLE,
    TRANSFORMS,
    VARIANTS,
    Recipe,
)

FIXED_BITS = {
    "bf16": 16,
    "nf4": 4,
    "llm-int8": 8,
    "w8a8-int8": 8,
    "fp8-dynamic": 8,
    "fp8-static": 8,
    "fp8-block": 8,
    "mxfp4": 4,
    "nvfp4": 4,
}
FIXED_GROUP = {"mxfp4": 32, "nvfp4": 16, "fp8-block": 128}
STATIC = ("w8a8-int8", "fp8-static")


def check(recipe: Recipe) -> None:
    """Raise QCourseError for the first setting that the method cannot honour."""
    check_types(recipe)
    check_names(recipe)
    check_variant(recipe)
    check_activations(recipe)
    check_bits(recipe)
    check_group(recipe)
    check_transform(recipe)
    check_ranges(recipe)
    if recipe.desc_act and recipe.method != "gptq":
        raise QCourseError(f"desc_act is GPTQ's order of columns; {recipe.method} has none: leave it out")
    check_overrides(recipe)


def check_names(recipe: Recipe) -> None:
    """Raise QCourseError when method, transform, order or activations is not a known word."""
    for what, value, allowed in (
        ("method", recipe.method, METHODS),
        ("transform", recipe.transform, TRANSFORMS),
        ("act_order", recipe.act_order, ACT_ORDERS),
        ("activations", recipe.activations, ("dynamic", "static")),
    ):
        if value not in allowed:
            raise QCourseError(f"unknown {what} {value!r}; known are {', '.join(map(str, allowed))}")


def check_variant(recipe: Recipe) -> None:
    """Raise QCourseError when the variant is not one that the method has."""
    if recipe.variant == "gptaq" and (recipe.method != "gptq" or recipe.transform == "awq"):
        raise QCourseError(
            "gptaq is GPTQ with the unquantized model's activations as its target; "
            "it goes with the method gptq and without awq: use gptaq-w4g128"
        )
    allowed = VARIANTS.get(recipe.method, ("",))
    if recipe.variant in allowed:
        return
    known = ", ".join(word for word in allowed if word)
    fix = f"known are {known}" if known else "leave the variant out"
    raise QCourseError(f"{recipe.method} has no variant {recipe.variant!r}; {fix}")


def check_activations(recipe: Recipe) -> None:
    """Raise QCourseError when the scales of the inputs are not fixed or free as the method's are."""
    if recipe.activations == "static" and recipe.method not in STATIC:
        raise QCourseError(
            f"{recipe.method} has no static activations, only {' and '.join(STATIC)} have; "
            "leave activations out"
        )
    if recipe.activations != "static" and recipe.method == "fp8-static":
        raise QCourseError(
            f'fp8-static has static activations, not {recipe.activations}; set activations to "static" '
            "or use fp8-dynamic"
        )


def check_bits(recipe: Recipe) -> None:
    """Raise QCourseError when the number of bits is not one the method (or AWQ's files) has."""
    if recipe.method == "gguf":
        return
    if recipe.method in FIXED_BITS:
        if recipe.bits != FIXED_BITS[recipe.method]:
            raise QCourseError(f"{recipe.method} has {FIXED_BITS[recipe.method]} bits, not {recipe.bits}")
        return
    allowed = (3, 4, 8) if recipe.transform == "awq" else (2, 3, 4, 5, 6, 7, 8)
    if recipe.transform == "awq" and recipe.method == "gptq":
        allowed = (2, 3, 4, 8)
    if recipe.bits not in allowed:
        label = "awq" if recipe.transform == "awq" else recipe.method
        raise QCourseError(
            f"{label} has no {recipe.bits}-bit form; choose from {', '.join(map(str, allowed))} bits"
        )


def check_group(recipe: Recipe) -> None:
    """Raise QCourseError when the group size is neither positive nor -1 (a whole row)."""
    size = recipe.group_size
    if size < 1 and size != -1:
        raise QCourseError(f"group size {size} is neither positive nor -1 (one scale a row); 128 is usual")
    fixed = FIXED_GROUP.get(recipe.method, size)
    if size != fixed:
        raise QCourseError(f"{recipe.method} has groups of {fixed}, not {size}; leave the group size out")


def check_transform(recipe: Recipe) -> None:
    """Raise QCourseError for a transform that does nothing for the method."""
    if recipe.transform == "smoothquant" and recipe.method != "w8a8-int8":
        raise QCourseError(
            f"smoothquant moves outliers for 8-bit activations; {recipe.method} has none: "
            "use smoothquant+w8a8-int8"
        )
    if recipe.transform == "awq" and recipe.method not in INTEGER_METHODS:
        raise QCourseError(
            f"awq scales weights for integer grids, not for {recipe.method}; "
            "use awq-w4g128 or awq+gptq-w3g128"
        )


def check_ranges(recipe: Recipe) -> None:
    """Raise QCourseError for a number outside its range; NaN is outside of every range."""
    if not 0 < recipe.damping < 1:
        raise QCourseError(f"damping must lie between 0 and 1, not {recipe.damping}; 0.01 is usual")
    if not 0 <= recipe.alpha <= 1:
        raise QCourseError(f"alpha must lie between 0 and 1, not {recipe.alpha}; 0.5 is usual")
    if not 0 <= recipe.threshold < math.inf:
        raise QCourseError(f"threshold must be a number from 0 up, not {recipe.threshold}; 6.0 is usual")


def check_overrides(recipe: Recipe) -> None:
    """Raise QCourseError for an override that is not a table of known fields with values the method has.

    Each is tried by itself, so that a bad value fails when the recipe is made and not mid-run.
    """
    for pattern, values in recipe.overrides.items():
        check_type("every pattern in overrides", pattern, str)
        unknown = sorted(map(str, set(values) - set(OVERRIDABLE))) if isinstance(values, dict) else [
            "(not a table)"]  # fmt: skip
        if unknown:
            raise QCourseError(
                f"override {pattern!r} has unknown fields {', '.join(unknown)}; "
                f"known are {', '.join(OVERRIDABLE)}"
            )
        try:
            check_type("skip", values.get("skip", False), bool)
            changes = {key: value for key, value in values.items() if key != "skip"}
            if recipe.method in INTEGER_METHODS and changes.get("bits") == 16:
                check_type("bits", changes.pop("bits"), int)  # kept as it is
            replace(recipe, overrides={}, **changes)
        except QCourseError as error:
            raise QCourseError(f"override {pattern!r}: {error}") from error
