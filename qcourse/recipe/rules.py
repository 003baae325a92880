"""Which settings of a recipe go together; each function raises QCourseError for the first that does not."""

import math
from collections.abc import Callable
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.validation import validated
from qcourse.recipe.overrides import check_overrides
from qcourse.recipe.vocabulary import (
    ACT_ORDERS,
    ACTIVATIONS,
    AWQ_VARIANTS,
    INTEGER_METHODS,
    METHODS,
    TRANSFORMS,
)

EXAMPLES = {"overrides": '{"*.down_proj": {"bits": 8}}', "ignore": '["lm_head"]'}
USUAL = {"damping": "0.01", "alpha": "0.5", "threshold": "6.0"}


def check(recipe: Any, kinds: dict[str, Any]) -> None:
    """Raise QCourseError for the first setting that the method cannot honour.

    recipe: a frozen dataclass with a recipe's fields; kinds: the type of each.
    """
    for name, kind in kinds.items():
        validated(kind, getattr(recipe, name), f"{name} of a recipe", EXAMPLES.get(name, ""))
    for rule in RULES:
        rule(recipe)


def check_names(recipe: Any) -> None:
    """Method, transform, order and activations are known words."""
    for what, value, allowed in (
        ("method", recipe.method, METHODS),
        ("transform", recipe.transform, TRANSFORMS),
        ("act_order", recipe.act_order, ACT_ORDERS),
        ("activations", recipe.activations, ACTIVATIONS),
    ):
        if value not in allowed:
            raise QCourseError(f"unknown {what} {value!r}; known are {', '.join(map(str, allowed))}")


def check_variant(recipe: Any) -> None:
    """The variant is one that the method has."""
    if recipe.variant == "gptaq" and (recipe.method != "gptq" or recipe.transform == "awq"):
        raise QCourseError(
            "gptaq is GPTQ with the unquantized model's activations as its target; "
            "it goes with the method gptq and without awq: use gptaq-w4g128"
        )
    awq = (recipe.transform, recipe.method) == ("awq", "rtn")
    allowed = AWQ_VARIANTS if awq else METHODS[recipe.method].variants
    if recipe.variant not in allowed:
        known = ", ".join(word for word in allowed if word)
        fix = f"known are {known}" if known else "leave the variant out"
        raise QCourseError(f"{recipe.method} has no variant {recipe.variant!r}; {fix}")


def check_activations(recipe: Any) -> None:
    """The scales of the inputs are fixed or free as the method's are."""
    allowed = METHODS[recipe.method].activations
    if recipe.activations in allowed:
        return
    if recipe.activations == "static":
        able = " and ".join(name for name, method in METHODS.items() if "static" in method.activations)
        raise QCourseError(
            f"{recipe.method} has no static activations, only {able} have; leave activations out"
        )
    raise QCourseError(
        f"{recipe.method} has static activations, not {recipe.activations}; set activations to "
        f'"static" or use fp8-dynamic'
    )


def check_bits(recipe: Any) -> None:
    """The number of bits is one that the method (or AWQ's files) has."""
    label, allowed = recipe.method, METHODS[recipe.method].bits
    if recipe.transform == "awq" and recipe.method in INTEGER_METHODS:
        label, allowed = "awq", (3, 4, 8) if recipe.method == "rtn" else (2, 3, 4, 8)
    if recipe.bits in allowed:
        return
    if len(allowed) == 1:
        raise QCourseError(f"{label} has {allowed[0]} bits, not {recipe.bits}")
    choice = ", ".join(map(str, allowed))
    raise QCourseError(f"{label} has no {recipe.bits}-bit form; choose from {choice} bits")


def check_group(recipe: Any) -> None:
    """The group size is positive, -1 (a whole row), or None: the largest that fits the model."""
    size, fixed = recipe.group_size, METHODS[recipe.method].group_size
    if size is not None and size < 1 and size != -1:
        raise QCourseError(f"group size {size} is neither positive nor -1 (one scale a row); 128 is usual")
    if fixed not in (None, -1) and size != fixed:
        raise QCourseError(f"{recipe.method} has groups of {fixed}, not {size}; leave the group size out")


def check_transform(recipe: Any) -> None:
    """The transform does something for the method."""
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


def check_numbers(recipe: Any) -> None:
    """Each number lies in its range; NaN lies in none."""
    for name, holds, words in (
        ("damping", 0 < recipe.damping < 1, "lie between 0 and 1"),
        ("alpha", 0 <= recipe.alpha <= 1, "lie between 0 and 1"),
        ("threshold", 0 <= recipe.threshold < math.inf, "be a number from 0 up"),
    ):
        if not holds:
            raise QCourseError(f"{name} must {words}, not {getattr(recipe, name)}; {USUAL[name]} is usual")


def check_order(recipe: Any) -> None:
    """Only GPTQ has an order of columns."""
    if recipe.desc_act and recipe.method != "gptq":
        raise QCourseError(f"desc_act is GPTQ's order of columns; {recipe.method} has none: leave it out")


RULES: tuple[Callable[[Any], None], ...] = (
    check_names, check_variant, check_activations, check_bits, check_group, check_transform, check_numbers,
    check_order, check_overrides,
)  # fmt: skip
