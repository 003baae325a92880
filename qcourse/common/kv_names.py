"""The names under which checkpoints keep the scales of a KV cache; none of them is a weight.

Source: vLLM's maybe_remap_kv_scale_name and get_cache_scale, for compressed-tensors, FP8 and ModelOpt.
"""

import re
from typing import NamedTuple

INNER = r"\.layers\.(?P<layer>\d+)\.(?:\w+\.)*?"
SCALE = re.compile(
    INNER + r"(?:(?P<own>k|v|kv)_scale|(?P<proj>[kv])_proj\.output_scale|(?P<cache>[kv])_cache\.scale)$"
)
BESIDE = re.compile(
    INNER + r"(?:q_scale|q_proj\.output_scale|prob_(?:output_)?scale|[qkv]_zero_point"
    r"|[qkv]_proj\.output_zero_point|[kv]_cache\.zero_point)$"
)


class Place(NamedTuple):
    """What a scale is for: the number of the decoder layer, and "k", "v" or "kv"."""

    layer: int
    part: str


def place_of(name: str) -> Place | None:
    """Return what a tensor of this name scales in the KV cache; None for any other tensor."""
    found = SCALE.search(name)
    if found is None:
        return None
    return Place(int(found["layer"]), found["own"] or found["proj"] or found["cache"])


def is_of_a_cache(name: str) -> bool:
    """Say whether a tensor belongs to a quantized cache or attention: a scale or zero point, no weight."""
    return place_of(name) is not None or BESIDE.search(name) is not None
