"""Recipes by name: gptq-w4g128, awq-w4g128, smoothquant+w8a8-int8, gguf-q4_k_m."""

import re

from qcourse.common import QCourseError
from qcourse.recipe.recipe import Recipe

FIXED = {
    "bf16": Recipe("bf16", bits=16, group_size=-1),
    "nf4": Recipe("nf4", group_size=64),
    "nf4-single": Recipe("nf4", group_size=64, variant="single"),
    "llm-int8": Recipe("llm-int8", bits=8, group_size=-1),
    "w8a8-int8": Recipe("w8a8-int8", bits=8, group_size=-1),
    "w8a8-int8-static": Recipe("w8a8-int8", bits=8, group_size=-1, activations="static"),
    "smoothquant+w8a8-int8": Recipe("w8a8-int8", "smoothquant", bits=8, group_size=-1),
    "smoothquant+w8a8-int8-static": Recipe(
        "w8a8-int8", "smoothquant", bits=8, group_size=-1, activations="static"
    ),
    "fp8-dynamic": Recipe("fp8-dynamic", bits=8, group_size=-1),
    "fp8-static": Recipe("fp8-static", bits=8, group_size=-1, activations="static"),
    "fp8-block": Recipe("fp8-block", bits=8, group_size=128),
    "mxfp4": Recipe("mxfp4", group_size=32),
    "nvfp4": Recipe("nvfp4", group_size=16),
}
ALIASES = {
    "int8": "llm-int8",
    "fp8": "fp8-dynamic",
    "smoothquant": "smoothquant+w8a8-int8",
    "gptq": "gptq-w4g128",
    "gptaq": "gptaq-w4g128",
    "awq": "awq-w4g128",
    "rtn": "rtn-w4g128",
}
INTEGER = re.compile(
    r"(?:(?P<transform>awq|rotation)\+)?(?P<method>rtn|gptq|gptaq|awq)-w(?P<bits>\d)"
    r"(?:g(?P<group>\d+)|-(?P<channel>channel))(?P<rest>(?:-(?:sym|asym|act|plain|aware))*)"
)
KNOWN = (*FIXED, *(f"{method}-w{bits}g{group}" for method in ("rtn", "gptq") for bits in (2, 3, 4, 8)
                   for group in (32, 64, 128)), "gptaq-w4g128", "awq-w4g128", "awq-w3g128", "awq+gptq-w3g128",
         "rotation+rtn-w4g128", "gguf-q8_0", "gguf-q4_k_m")  # fmt: skip


def named(name: str) -> Recipe:
    """Return the recipe of a name.

    Integers: [awq+|rotation+]rtn|gptq|gptaq|awq-wBgG, or -wB-channel, with the suffixes -sym, -asym
    and for GPTQ and GPTAQ -act (desc_act), -aware (group-aware), -plain (orders of columns).
    AWQ is asymmetric unless told. GGUF: gguf- and one of llama.cpp's file types.
    Raises QCourseError for an unknown name or type, listing the known ones.
    """
    name = ALIASES.get(name, name)
    if name in FIXED:
        return FIXED[name]
    if name.lower().startswith("gguf-"):
        return Recipe("gguf", group_size=-1, variant=name[len("gguf-") :].upper())
    if match := INTEGER.fullmatch(name):
        return from_match(match)
    raise QCourseError(f"unknown recipe {name!r}; known are {', '.join(KNOWN)}")


def from_match(match: re.Match) -> Recipe:
    """Return the integer recipe of a parsed name."""
    suffixes = set(match["rest"].split("-"))
    awq = match["method"] == "awq"
    symmetric = "sym" in suffixes or (not awq and match["transform"] != "awq" and "asym" not in suffixes)
    order = "none" if "plain" in suffixes else "group-aware" if "aware" in suffixes else "static"
    return Recipe(
        method={"awq": "rtn", "gptaq": "gptq"}.get(match["method"], match["method"]),
        transform="awq" if awq else match["transform"],
        bits=int(match["bits"]),
        group_size=int(match["group"]) if match["group"] else -1,
        symmetric=symmetric,
        desc_act="act" in suffixes,
        act_order=order,
        variant="gptaq" if match["method"] == "gptaq" else "",
    )


def name_of(recipe: Recipe) -> str:
    """Return the name of a recipe; settings that a name cannot carry are marked by a short hash."""
    if recipe.method == "gguf":
        base = f"gguf-{recipe.variant.lower()}"
    elif recipe.method in ("rtn", "gptq"):
        base = integer_name(recipe)
    else:
        base = next((name for name, fixed in FIXED.items() if fixed == recipe), recipe.method)
    try:
        return base if named(base) == recipe else f"{base}-{recipe.hash[:6]}"
    except QCourseError:
        return f"{base}-{recipe.hash[:6]}"


def integer_name(recipe: Recipe) -> str:
    """Return the name of an integer recipe from its parts."""
    method = "awq" if (recipe.transform, recipe.method) == ("awq", "rtn") else recipe.variant or recipe.method
    prefix = f"{recipe.transform}+" if recipe.transform and method != "awq" else ""
    grid = f"w{recipe.bits}-channel" if recipe.group_size == -1 else f"w{recipe.bits}g{recipe.group_size}"
    sign = "" if recipe.symmetric else "-asym"
    if recipe.symmetric and recipe.transform == "awq":
        sign = "-sym"
    order = ""
    if recipe.method == "gptq":
        order = (
            "-act"
            if recipe.desc_act
            else {"none": "-plain", "group-aware": "-aware"}.get(recipe.act_order, "")
        )
    return f"{prefix}{method}-{grid}{sign}{order}"
