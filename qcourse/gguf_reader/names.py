"""Tensor names and the rotary permutation: what differs between a transformers model and its GGUF."""

import re
from typing import Any

from torch import Tensor

from qcourse.common import QCourseError
from qcourse.common.layouts import LAYOUTS, Layout

EXPERT = re.compile(r"(?<=\.experts)\.(\d+)(?=\.)")
"""The number of an expert in a transformers name; GGUF keeps all experts of a layer in one tensor."""

PAIRED = ("llama", "smollm3", "granite")
"""Architectures of GGUF that rotate neighbouring rows of q and k, not the halves of a head."""

PARTIAL = ("phi3", "glm4", "stablelm")
"""Architectures of GGUF of which some models rotate the first columns of a head only."""

ROTARY = re.compile(r"(blk\.\d+\.attn_[qk]|model\.layers\.\d+\.self_attn\.[qk]_proj)\.(weight|bias)")


def row_of(arch: str) -> Layout:
    """Return the layout of a GGUF architecture. Raises QCourseError for one that is not supported."""
    found = next((row for row in LAYOUTS.values() if row.gguf == arch), None)
    if found is None:
        known = ", ".join(dict.fromkeys(row.gguf for row in LAYOUTS.values()))
        raise QCourseError(f"GGUF files of {arch!r} are not read; these are: {known}")
    return found


def is_norm(name: str) -> bool:
    """Say whether a tensor is the weight of a norm, by its name in GGUF or in transformers."""
    return name.endswith("norm.weight")


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
    """Return GGUF name -> transformers name for the tensors present in a file; experts without a number."""
    names, row = name_map(arch, layers), row_of(arch)
    inner = [part for stage in row.stages() for part in stage]
    inner += ["self_attn.q_norm", "self_attn.k_norm", *filter(None, row.norms)]
    for mixture in (item for item in LAYOUTS.values() if item.gguf == arch and item.experts):
        inner += [f"{mixture.block}.gate", *(EXPERT.sub("", part) for part in mixture.expert(0))]
    modules = [f"model.layers.{layer}.{part}" for layer in range(layers) for part in inner]
    modules += ["model.embed_tokens", "model.norm", "lm_head"]
    candidates = [f"{module}.{end}" for module in modules for end in ("weight", "bias")]
    known = {names.get_name(name, try_suffixes=(".weight", ".bias")): name for name in candidates}
    return {name: known[name] for name in present if name in known}


def permute_rotary(tensor: Tensor, heads: int) -> Tensor:
    """Reorder the rows of q or k ([heads * head_dim, ...]) from two halves, transformers' way, to pairs.

    llama.cpp's PAIRED architectures rotate neighbouring rows; the others keep transformers' halves.
    """
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def unpermute_rotary(tensor: Tensor, heads: int) -> Tensor:
    """Undo `permute_rotary`."""
    return tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
