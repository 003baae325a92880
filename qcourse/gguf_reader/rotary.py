"""The rotary embedding that a GGUF describes: its base, its scaling, Llama 3's divisors."""

import math
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError
from qcourse.gguf_reader.names import PARTIAL
from qcourse.gguf_reader.read import decimal, field, value

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""Llama 3's own rotary scaling: a GGUF holds only the divisors that come of it."""


def rotary(reader: Any, arch: str) -> dict[str, Any]:
    """Return rope_parameters. Raises QCourseError for a scaling that is not read, or a part of the head."""
    base = {"rope_type": "default", "rope_theta": decimal(value(reader, f"{arch}.rope.freq_base", 10000.0))}
    hidden, heads = (field(reader, f"{arch}.{key}") for key in ("embedding_length", "attention.head_count"))
    head = value(reader, f"{arch}.attention.key_length", hidden // heads)
    turned = value(reader, f"{arch}.rope.dimension_count", head)
    if turned != head and arch in PARTIAL:
        base["partial_rotary_factor"] = turned / head
    elif turned != head:
        raise QCourseError(f"only {turned} of {head} columns of a head are rotated; such files are not read")
    factors = next((tensor for tensor in reader.tensors if tensor.name == "rope_freqs.weight"), None)
    if factors is not None:
        return base | llama3(torch.from_numpy(factors.data.copy()).float(), base["rope_theta"])
    kind = value(reader, f"{arch}.rope.scaling.type", "none")
    factor = value(reader, f"{arch}.rope.scaling.factor", 1.0)
    if kind == "none" or factor == 1.0:
        return base
    if kind not in ("linear", "yarn"):
        raise QCourseError(f"rotary scaling {kind!r} is not read; linear, yarn and llama3 are")
    scaled = base | {"rope_type": kind, "factor": decimal(factor)}
    if kind == "yarn":
        scaled["original_max_position_embeddings"] = field(
            reader, f"{arch}.rope.scaling.original_context_length")  # fmt: skip
        if (times := value(reader, f"{arch}.rope.scaling.attn_factor", 1.0)) != 1.0:
            scaled["attention_factor"] = times * (1 + 0.1 * math.log(factor))
    return scaled


def llama3(factors: Tensor, theta: float) -> dict[str, Any]:
    """Return Llama 3's scaling from its divisors [head_dim / 2]. Raises QCourseError for other divisors."""
    found = {"rope_type": "llama3", "factor": decimal(factors.max().item()), **LLAMA3}
    if not torch.allclose(
        llama3_factors(found | {"rope_theta": theta}, 2 * len(factors)), factors, rtol=1e-4
    ):
        raise QCourseError(
            "the rotary divisors of this GGUF (rope_freqs.weight) are not those of Llama 3's scaling; "
            "convert the original checkpoint instead"
        )
    return found


def llama3_factors(given: dict[str, Any], head_dim: int) -> Tensor:
    """Return llama3's divisor for each rotary frequency, float32 [head_dim / 2].

    Long wavelengths are divided by `factor`, short ones kept, those between interpolated.
    Source: transformers' _compute_llama3_parameters.
    """
    frequencies = given["rope_theta"] ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    turns = given["original_max_position_embeddings"] * frequencies / (2 * torch.pi)
    low, high, factor = given["low_freq_factor"], given["high_freq_factor"], given["factor"]
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).float()
