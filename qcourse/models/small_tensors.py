"""The parameters that no recipe quantizes: norms, biases, routers, convolutions, a vision tower."""

from __future__ import annotations

from qcourse.models.families import FAMILIES, kinds_of_layers
from qcourse.models.layers import attention, delta_widths, experts, head_dim, mixture_layers


def small_tensors(config: dict, whole: dict) -> dict[str, int]:
    """Return the number of parameters by kind: bias, norm, router, convolution, vision."""
    return {"bias": biases(config), "norm": norms(config), "router": routers(config),
            "convolution": convolutions(config), "vision": vision(whole)}  # fmt: skip


def norms(config: dict) -> int:
    """Return the parameters of all norms, the last one included."""
    wide, kind, *_ = FAMILIES[config["model_type"]]
    hidden, heads, width = config["hidden_size"], config["num_attention_heads"], head_dim(config)
    layers, full = config["num_hidden_layers"], len(kinds_of_layers(config))
    full -= kinds_of_layers(config).count("linear_attention")
    kind = "head" if config.get("use_qk_norm") and config["model_type"] == "glm4_moe" else kind
    key_heads = config.get("num_key_value_heads") or heads
    extra = {"": 0, "head": 2 * width, "all": (heads + key_heads) * width,
             "latent": (config.get("q_lora_rank") or 0) + config.get("kv_lora_rank", 0)}[kind]  # fmt: skip
    last = 2 if config["model_type"] in ("nemotron", "stablelm", "starcoder2") else 1
    return layers * wide * hidden + full * extra + last * hidden


def biases(config: dict) -> int:
    """Return the parameters of all biases of linears, and the attention sinks of gpt-oss."""
    kind = config["model_type"]
    if not (config.get("attention_bias") or config.get("use_qkv_bias") or FAMILIES[kind][2]):
        return 0
    layers, hidden = config["num_hidden_layers"], config["hidden_size"]
    query, key, _ = (rows * many for rows, _, many in attention(config)[:3])
    if kind == "starcoder2":
        return (
            layers * (query + key + 2 * hidden + config["intermediate_size"]) * config.get("use_bias", True)
        )
    if kind != "gpt_oss":
        return layers * (query + key + (hidden if kind in ("llama", "qwen3", "granite") else 0))
    inner = experts(config) * (2 * config["intermediate_size"] + hidden + 1)
    return layers * (query + key + hidden + config["num_attention_heads"] + inner)


def routers(config: dict) -> int:
    """Return the parameters of the routers, and of the gates of shared experts."""
    gate = config["hidden_size"] if config.get("shared_expert_intermediate_size") else 0
    steer = experts(config) if config["model_type"] in STEERED else 0
    return mixture_layers(config) * (experts(config) * config["hidden_size"] + gate + steer)


STEERED = ("deepseek_v3", "kimi_k2", "glm4_moe", "minimax_m2")  # one correction a routed expert


def convolutions(config: dict) -> int:
    """Return the parameters of the delta-rule layers besides their linears."""
    layers = kinds_of_layers(config).count("linear_attention")
    if not layers:
        return 0
    key, value = delta_widths(config)
    small = 2 * config["linear_num_value_heads"] + config["linear_value_head_dim"]
    return layers * ((2 * key + value) * config["linear_conv_kernel_dim"] + small)


def vision(whole: dict) -> int:
    """Return the parameters of a vision tower of plain blocks (SigLIP, Llama 4), to about a percent."""
    tower = whole.get("vision_config") or {}
    if tower.get("model_type") not in ("siglip_vision_model", "llama4_vision_model"):
        return 0
    hidden, inner = tower["hidden_size"], tower["intermediate_size"]
    return tower["num_hidden_layers"] * (4 * hidden**2 + 2 * hidden * inner + 9 * hidden + inner)
