"""The Hugging Face configuration that a GGUF's metadata and tensors describe."""

from typing import Any

import torch

from qcourse.common import QCourseError
from qcourse.common.layouts import LAYOUTS
from qcourse.gguf_reader.names import row_of
from qcourse.gguf_reader.read import decimal, field, layer_count, value
from qcourse.gguf_reader.rotary import rotary

FAMILIES = {row.gguf: name for name, row in reversed(LAYOUTS.items())}
"""Architecture of GGUF -> model_type of transformers; llama with a sliding window is mistral."""

SCALED_BY_HIDDEN = {"gemma2": 46, "gemma3": 62}
"""Layers of the sizes whose scores llama.cpp divides by the root of hidden / heads, not of head_dim."""

MULTIPLIERS = {"embedding_multiplier": "embedding_scale", "residual_multiplier": "residual_scale",
               "attention_multiplier": "attention.scale", "logits_scaling": "logit_scale"}  # fmt: skip
"""Granite's, of transformers -> of GGUF."""


def config(reader: Any) -> Any:
    """Return the transformers configuration of an open GGUF file, dtype bfloat16.

    Raises QCourseError for an architecture, sizes by layer or a rotary scaling that are not read.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    arch = field(reader, "general.architecture")
    row = row_of(arch)
    window = value(reader, f"{arch}.attention.sliding_window", None)
    mixture = experts(reader, arch)
    kind = FAMILIES[arch] if arch != "llama" else "mixtral" if mixture else "mistral" if window else "llama"
    turned = rotary(reader, arch)
    if kind == "gemma3_text":
        turned = {"full_attention": turned, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    shape = sizes(reader, arch)
    made = AutoConfig.for_model(
        kind, **shape, **biases(reader, kind), **specials(reader), **mixture, rope_parameters=turned,
        **(multipliers(reader, arch, shape["head_dim"]) if kind == "granite" else {}),
        **(gemma(reader, arch, shape) if row.window_every else sliding(kind, window)))  # fmt: skip
    made.architectures = [AutoModelForCausalLM._model_mapping[type(made)].__name__]
    made.dtype = torch.bfloat16
    return made


def sizes(reader: Any, arch: str) -> dict[str, Any]:
    """Return the sizes of the network. Raises QCourseError for one that differs from layer to layer."""
    shapes = {tensor.name: tensor.shape for tensor in reader.tensors}
    hidden, heads = (field(reader, f"{arch}.{key}") for key in ("embedding_length", "attention.head_count"))
    found = {
        "vocab_size": int(shapes["token_embd.weight"][1]),
        "hidden_size": hidden,
        "intermediate_size": field(reader, f"{arch}.feed_forward_length"),
        "num_hidden_layers": layer_count(reader, arch),
        "num_attention_heads": heads,
        "num_key_value_heads": value(reader, f"{arch}.attention.head_count_kv", heads),
    }
    if uneven := [key for key, size in found.items() if not isinstance(size, int)]:
        raise QCourseError(f"{uneven[0]} differs from layer to layer in this GGUF; such files are not read")
    eps = row_of(arch).eps
    return found | {
        "head_dim": value(reader, f"{arch}.attention.key_length", hidden // heads),
        "max_position_embeddings": field(reader, f"{arch}.context_length"),
        eps: decimal(field(reader, f"{arch}.attention.layer_norm_{'rms_' * (eps[0] == 'r')}epsilon")),
        "tie_word_embeddings": "output.weight" not in shapes,
    }


def experts(reader: Any, arch: str) -> dict[str, Any]:
    """Return number and width of a mixture's experts, {} for a dense model; llama.cpp's shares sum to one."""
    if not (count := value(reader, f"{arch}.expert_count", 0)):
        return {}
    found = {"num_local_experts": count, "num_experts_per_tok": field(reader, f"{arch}.expert_used_count")}
    if arch == "llama":  # Mixtral, whose experts are as wide as its MLP would be
        return found
    width = field(reader, f"{arch}.expert_feed_forward_length")
    return found | {"moe_intermediate_size": width, "norm_topk_prob": True}


def biases(reader: Any, kind: str) -> dict[str, bool]:
    """Return which linears have a bias, where the family leaves it open."""
    names = {tensor.name for tensor in reader.tensors}
    found = dict.fromkeys(("attention_bias", "use_qkv_bias", "use_bias"), "blk.0.attn_q.bias" in names)
    found |= {"mlp_bias": "blk.0.ffn_up.bias" in names}
    known = {
        "llama": ["attention_bias", "mlp_bias"],
        "granite": ["attention_bias", "mlp_bias"],
        "starcoder2": ["use_bias"],
        "stablelm": ["use_qkv_bias"],
        "qwen3": ["attention_bias"],
        "glm4": ["attention_bias"],
    }
    return {key: found[key] for key in known.get(kind, ())}


def specials(reader: Any) -> dict[str, int | None]:
    """Return the ids of bos, eos and padding that the tokenizer's metadata names."""
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    return {f"{kind}_token_id": value(reader, f"tokenizer.ggml.{name}_token_id", None)
            for kind, name in names.items()}  # fmt: skip


def sliding(kind: str, window: int | None) -> dict[str, Any]:
    """Return the setting of a sliding window; Mistral's default is another than none."""
    if kind in ("mistral", "mixtral"):
        return {"sliding_window": window}
    return {"sliding_window": window, "use_sliding_window": True} if window else {}


def multipliers(reader: Any, arch: str, head_dim: int) -> dict[str, float]:
    """Return Granite's multipliers; what the file leaves out is what llama.cpp then computes with."""
    usual = {"attention_multiplier": head_dim**-0.5}
    return {name: decimal(value(reader, f"{arch}.{key}", 0.0) or usual.get(name, 1.0))
            for name, key in MULTIPLIERS.items()}  # fmt: skip


def gemma(reader: Any, arch: str, shape: dict[str, Any]) -> dict[str, Any]:
    """Return what Gemma's attention has of its own: the window, the divisor of scores, the caps."""
    caps = {name: value(reader, f"{arch}.{name}", None)
            for name in ("attn_logit_softcapping", "final_logit_softcapping")}  # fmt: skip
    by_hidden = shape["num_hidden_layers"] == SCALED_BY_HIDDEN[arch]
    scalar = shape["hidden_size"] // shape["num_attention_heads"] if by_hidden else shape["head_dim"]
    return {"sliding_window": field(reader, f"{arch}.attention.sliding_window"),
            "query_pre_attn_scalar": scalar, **caps}  # fmt: skip
