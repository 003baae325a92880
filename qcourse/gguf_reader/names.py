"""Tensor names and the rotary permutation: what differs between a transformers model and its GGUF."""

import re
from typing import Any

from torch import Tensor

from qcourse.common import QCourseError

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""model_type of transformers -> architecture of GGUF."""

ROTARY = re.compile(r"(blk\.\d+\.attn_[qk]|model\.layers\.\d+\.self_attn\.[qk]_proj)\.(weight|bias)")


def architecture(config: Any) -> str:
    """Return the GGUF architecture of a transformers config. Raises QCourseError for one not supported."""
    model_type = getattr(config, "model_type", None)
    if model_type not in ARCHITECTURES:
        raise QCourseError(
            f"GGUF export of {model_type!r} models is not supported; these are: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[model_type]


def name_map(arch: str, layers: int) -> Any:
    """Return gguf-py's map from transformers' tensor names to GGUF's."""
    import gguf

    number = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch)
    return gguf.get_tensor_name_map(number, layers)


def gguf_name(name: str, names: Any) -> str:
    """Return the GGUF name of a transformers tensor. Raises QCourseError if it has none."""
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise QCourseError(f"GGUF has no place for the tensor {name}; merge adapters before the export")
    return found


def hf_names(arch: str, layers: int, present: list[str]) -> dict[str, str]:
    """Return GGUF name -> transformers name for the tensors present in a file."""
    names = name_map(arch, layers)
    inner = (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "self_attn.q_norm",
        "self_attn.k_norm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm",
        "post_attention_layernorm",
    )  # fmt: skip
    modules = [f"model.layers.{layer}.{part}" for layer in range(layers) for part in inner]
    modules += ["model.embed_tokens", "model.norm", "lm_head"]
    candidates = [f"{module}.{end}" for module in modules for end in ("weight", "bias")]
    known = {names.get_name(name, try_suffixes=(".weight", ".bias")): name for name in candidates}
    return {name: known[name] for name in present if name in known}


def permute_rotary(tensor: Tensor, heads: int) -> Tensor:
    """Reorder the rows of q or k ([heads * head_dim, ...]) from two halves, transformers' way, to pairs.

    llama.cpp's llama architecture rotates neighbouring rows; Qwen's keeps transformers' halves.
    """
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def unpermute_rotary(tensor: Tensor, heads: int) -> Tensor:
    """Undo `permute_rotary`."""
    return tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
