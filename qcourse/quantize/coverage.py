"""How many calibration tokens the router of a mixture sent to each expert, and which it sent none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMED = 8


def expert_tokens(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the calibration tokens of each expert by its full name; {} without experts or calibration.

    layers: a manifest's records of quantized linears.
    """
    return {
        name.rpartition(".")[0]: note["calibration_tokens"]
        for name, note in layers.items()
        if ".experts." in name and "calibration_tokens" in note
    }


def coverage(tokens: Mapping[str, int]) -> str:
    """Return in a line or two what calibration reached of the experts in `expert_tokens`; "" for none."""
    if not tokens:
        return ""
    counts = sorted(tokens.values())
    said = (
        f"calibration tokens an expert: {counts[0]:,} to {counts[-1]:,}, median {counts[len(counts) // 2]:,}"
    )
    missed = [name for name, count in tokens.items() if not count]
    if not missed:
        return said
    more = f" and {len(missed) - NAMED} more, see recipe.json" if len(missed) > NAMED else ""
    return (
        f"{said}\nnone reached {', '.join(missed[:NAMED])}{more} ({len(missed)} of {len(tokens)} experts), "
        "whose weights are rounded to nearest; calibrate on more or other text, or send every token to every "
        "expert by --calibrate-all-experts"
    )
