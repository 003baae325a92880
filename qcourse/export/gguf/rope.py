"""How a GGUF says where tokens are: rotary base and scaling."""

import math
from typing import Any

from torch import Tensor

from qcourse.common import QCourseError
from qcourse.common.layouts import layout
from qcourse.gguf_reader.names import PARTIAL
from qcourse.gguf_reader.rotary import llama3_factors

FIXED = {"beta_fast": 32, "beta_slow": 1, "partial_rotary_factor": 1}
"""Of rotary scaling: what llama.cpp computes with whatever a file of these architectures says."""

LOCAL_BASE = 10000.0


def add_rope(writer: Any, config: Any) -> None:
    """Write the rotary width, base and scaling of a config. Raises QCourseError for a scaling it cannot."""
    import gguf

    found = rotary(config)
    writer.add_rope_dimension_count(int(head_dim(config) * (found.get("partial_rotary_factor") or 1)))
    writer.add_rope_freq_base(found["rope_theta"])
    if found["rope_type"] not in ("linear", "yarn"):
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType(found["rope_type"]))
    writer.add_rope_scaling_factor(found["factor"])
    if found["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(found["original_max_position_embeddings"])
        writer.add_rope_scaling_attn_factors(attention_factor(found))


def rotary(config: Any) -> dict[str, Any]:
    """Return rope_type, rope_theta and the scaling of a config. Raises QCourseError for another scaling."""
    given = getattr(config, "rope_parameters", None) or {}
    if "sliding_attention" in given:  # Gemma 3: llama.cpp fixes the base of the layers with a window
        check_local(given["sliding_attention"])
        given = given["full_attention"]
    found = {"rope_type": "default", "rope_theta": getattr(config, "rope_theta", 10000.0), **given}
    if found["rope_type"] == "yarn":
        found["original_max_position_embeddings"] = (
            found.get("original_max_position_embeddings") or config.max_position_embeddings
        )
    fixed = {key: value for key, value in FIXED.items()
             if layout(config).gguf not in PARTIAL or not key.startswith("partial")}  # fmt: skip
    strange = [f"{key} {found[key]}" for key, value in fixed.items() if (found.get(key) or value) != value]
    if found["rope_type"] not in ("default", "linear", "llama3", "yarn") or strange:
        raise QCourseError(
            f"rotary scaling {found['rope_type']!r} {' '.join(strange)} is not written to GGUF; default, "
            f"linear, llama3 and yarn with {fixed} are: remove the scaling"
        )
    return found


def check_local(given: dict[str, Any]) -> None:
    """Raise QCourseError unless layers with a window turn as llama.cpp's gemma3 turns them."""
    if (given["rope_type"], given["rope_theta"]) != ("default", LOCAL_BASE):
        raise QCourseError(
            f"layers with a window turn by {given}; llama.cpp's gemma3 knows rope_theta {LOCAL_BASE:.0f} "
            "without scaling only"
        )


def attention_factor(found: dict[str, Any]) -> float:
    """Return what llama.cpp multiplies its own 1 + 0.1 ln(factor) by, to scale attention as config says.

    Source: transformers' _compute_yarn_parameters; llama.cpp's rope_yarn.
    """
    usual = 0.1 * math.log(found["factor"]) + 1.0
    if (wanted := found.get("attention_factor")) is None:
        above, below = found.get("mscale"), found.get("mscale_all_dim")
        parts = [0.1 * each * math.log(found["factor"]) + 1.0 for each in (above, below) if each]
        wanted = parts[0] / parts[1] if len(parts) == 2 else usual
    return wanted / usual


def head_dim(config: Any) -> int:
    """Return the width of one attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rotary_factors(config: Any) -> dict[str, Tensor]:
    """Return llama3's divisor for each rotary frequency, {"rope_freqs.weight": [head_dim / 2]}, or {}."""
    given = rotary(config)
    if given["rope_type"] != "llama3":
        return {}
    return {"rope_freqs.weight": llama3_factors(given, head_dim(config))}
