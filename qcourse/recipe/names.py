"""Recipes by name, such as gptq-w4g128, smoothquant+w8a8-int8, gguf-q4_k_m: a name is a table of settings."""

import re
from collections.abc import Mapping
from typing import Any

from qcourse.common import QCourseError
from qcourse.recipe.vocabulary import INTEGER_METHODS, METHODS

Settings = dict[str, Any]
ALIASES = {"int8": "llm-int8", "fp8": "fp8-dynamic", "smoothquant": "smoothquant+w8a8-int8",
           "gguf": "gguf-q4_k_m"}  # fmt: skip
INTEGER = re.compile(
    r"(?:(?P<transform>awq|rotation)\+)?(?P<method>rtn|gptq|gptaq|awq|signround)(?:-w(?P<bits>\d))?"
    r"(?:g(?P<group>\d+)|-(?P<channel>channel))?(?P<rest>(?:-(?:sym|asym|act|plain|aware|nosearch|nofeedback|noclip|noscale))*)"
)
ORDERS = {"plain": "none", "aware": "group-aware"}
CONTROLS = ("nosearch", "nofeedback", "noclip", "noscale")  # a method without one of its parts
KNOWN = (*(name for name in METHODS if name not in (*INTEGER_METHODS, "gguf")), "nf4-single",
         "w8a8-int8-static", "smoothquant+w8a8-int8", "smoothquant+w8a8-int8-static",
         *(f"{method}-w{bits}g{group}" for method in ("rtn", "gptq") for bits in (2, 3, 4, 8)
           for group in (32, 64, 128)), "gptaq-w4g128", "signround-w4g128", "awq-w4g128", "awq-w3g128",
         "awq+gptq-w3g128", "rotation+rtn-w4g128", "gguf-q8_0", "gguf-q4_k_m")  # fmt: skip


def settings_of(name: str) -> Settings:
    """Return the settings that a name stands for: fields of a recipe that are not left at their default.

    Integers: [awq+|rotation+]rtn|gptq|gptaq|awq|signround, -wB (4), gG or -channel (the largest group
    that fits), with the suffixes -sym, -asym and for GPTQ and GPTAQ -act (desc_act), -aware (group-aware),
    -plain (orders of columns). AWQ is asymmetric unless told. Controls leave a part out: -nosearch and
    -nofeedback of GPTQ, -noclip and -noscale of AWQ. GGUF: gguf- and one of llama.cpp's file types.
    Raises QCourseError for an unknown name, listing methods and examples.
    """
    name = ALIASES.get(name, name)
    if name.lower().startswith("gguf-"):
        return {"method": "gguf", "group_size": -1, "variant": name[len("gguf-") :].upper()}
    if match := INTEGER.fullmatch(name):
        return integer_settings(match)
    transform, plus, rest = name.rpartition("+")
    method = rest if rest in METHODS else rest.rpartition("-")[0]
    suffix = rest.removeprefix(method).removeprefix("-")
    if method in METHODS and method not in (*INTEGER_METHODS, "gguf") and is_known(method, transform, suffix):
        return fixed_settings(method, transform, suffix)
    raise QCourseError(f"unknown recipe {name!r}; methods are {', '.join(spoken())}; recipes such as "
                       "gptq-w4g128, awq-w3g64, nf4-single, gguf-q4_k_m name their settings")  # fmt: skip


def spoken() -> tuple[str, ...]:
    """Return the methods as people name them, AWQ and the shorter names included."""
    return tuple(dict.fromkeys((*METHODS, "gptaq", "awq", *ALIASES)))


def is_known(method: str, transform: str, suffix: str) -> bool:
    """Say whether a method of fixed grid has this transform and suffix."""
    found = METHODS[method]
    return transform in ("", "smoothquant") and (suffix in found.variants or suffix in found.activations[1:])


def fixed_settings(method: str, transform: str, suffix: str) -> Settings:
    """Return the settings of a method whose grid is its own."""
    found = METHODS[method]
    settings: Settings = {"method": method, "bits": found.bits[0], "transform": transform or None,
                          "group_size": found.group_size or found.block_size}  # fmt: skip
    settings["activations"] = suffix if suffix in found.activations[1:] else found.activations[0]
    return settings | ({"variant": suffix} if suffix in found.variants else {})


def integer_settings(match: re.Match) -> Settings:
    """Return the settings of a parsed integer name."""
    suffixes = match["rest"].split("-")
    method, awq = match["method"], "awq" in (match["method"], match["transform"])
    group = -1 if match["channel"] else int(match["group"]) if match["group"] else None
    return {
        "method": {"awq": "rtn", "gptaq": "gptq"}.get(method, method),
        "transform": "awq" if awq else match["transform"],
        "bits": int(match["bits"] or 4),
        "group_size": group,
        "symmetric": "sym" in suffixes or (not awq and "asym" not in suffixes),
        "desc_act": "act" in suffixes,
        "act_order": next((order for word, order in ORDERS.items() if word in suffixes), "static"),
        "variant": next((word for word in ("gptaq", *CONTROLS) if word in (method, *suffixes)), ""),
    }


def name_of(settings: Mapping[str, Any], defaults: Mapping[str, Any], mark: str) -> str:
    """Return the name that `settings_of` reads back; settings that a name cannot carry are marked.

    settings: all fields of a recipe; defaults: their values where a name says nothing; mark: a short hash.
    """
    base = base_name(settings)
    try:
        same = {**defaults, **settings_of(base)} == dict(settings)
    except QCourseError:
        same = False
    return base if same else f"{base}-{mark}"


def base_name(settings: Mapping[str, Any]) -> str:
    """Return what a name can carry of the settings."""
    method, transform = settings["method"], settings["transform"]
    if method == "gguf":
        return f"gguf-{settings['variant'].lower()}"
    if method in INTEGER_METHODS:
        return integer_name(settings)
    prefix = f"{transform}+" if transform else ""
    static = settings["activations"] in METHODS[method].activations[1:]
    suffix = settings["variant"] or (settings["activations"] if static else "")
    return f"{prefix}{method}{f'-{suffix}' if suffix else ''}"


def integer_name(settings: Mapping[str, Any]) -> str:
    """Return the name of integer settings: what differs from the usual is said (AWQ: zero points)."""
    transform, awq = settings["transform"], settings["transform"] == "awq"
    method = "gptaq" if settings["variant"] == "gptaq" else settings["method"]
    method = "awq" if (transform, settings["method"]) == ("awq", "rtn") else method
    prefix = f"{transform}+" if transform and method != "awq" else ""
    group = {-1: "-channel", None: ""}.get(settings["group_size"], f"g{settings['group_size']}")
    sign = "" if settings["symmetric"] is not awq else "-sym" if awq else "-asym"
    words = {order: f"-{word}" for word, order in ORDERS.items()}
    order = "-act" if settings["desc_act"] else words.get(settings["act_order"], "")
    order = order if settings["method"] == "gptq" else ""
    control = f"-{settings['variant']}" if settings["variant"] in CONTROLS else ""
    return f"{prefix}{method}-w{settings['bits']}{group}{sign}{order}{control}"
