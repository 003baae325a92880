"""Which quantized mixtures of experts transformers loads as they are stored; found by trial with 5.17."""

from typing import Any

from qcourse.common.layouts import LAYOUTS

READ_HERE = ("gptq", "awq", "compressed-tensors", "bitsandbytes")


def is_mixture(model_type: str | None) -> bool:
    """Say whether a model type has layers of experts that are rewritten here."""
    row = LAYOUTS.get(model_type or "")
    return row is not None and bool(row.experts)


def misreads_experts(model_type: str | None, quantization: dict[str, Any]) -> bool:
    """Say whether transformers would draw the experts of a quantized mixture at random, fail, or change them.

    It unpacks symmetric integers of compressed-tensors, all experts of one scheme; of FP8 it takes the
    weights and leaves inputs in 16 bits; of GPTQ, AWQ, bitsandbytes and zero points it reads no expert.
    """
    if not is_mixture(model_type) or quantization.get("quant_method") not in READ_HERE:
        return False
    groups = list((quantization.get("config_groups") or {}).values())
    alike = len(groups) == 1 and not any("experts" in name for name in quantization.get("ignore") or ())
    packed = alike and (groups[0].get("format") or quantization.get("format")) == "pack-quantized"
    return not (packed and groups[0]["weights"].get("symmetric", True))
