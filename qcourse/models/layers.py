"""What a config.json says of every decoder layer: its linears and what it keeps of a token."""

from __future__ import annotations

from typing import NamedTuple

from qcourse.common import QCourseError
from qcourse.models.families import EXPERT_FIELDS, WINDOWED, is_latent, kinds_of_layers


class Linear(NamedTuple):
    """`count` equal linears of rows x columns; `active` of them are used by one token."""

    kind: str  # attention, mlp, or expert
    rows: int
    columns: int
    count: int
    active: int


class Cache(NamedTuple):
    """`layers` layers that keep `values` numbers a token, of the last `window` tokens (None: of all)."""

    layers: int
    values: int
    window: int | None


def head_dim(config: dict) -> int:
    """Return the width of one attention head."""
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def attention(config: dict) -> list[tuple[int, int, int]]:
    """Return (rows, columns, count) of the linears of one layer with softmax attention."""
    hidden, heads, width = config["hidden_size"], config["num_attention_heads"], head_dim(config)
    if not is_latent(config):
        query, key = heads * width, (config.get("num_key_value_heads") or heads) * width
        gate = 2 if config["model_type"] == "qwen3_next" else 1
        return [(gate * query, hidden, 1), (key, hidden, 2), (hidden, query, 1)]
    rank, rope, plain = config["kv_lora_rank"], config["qk_rope_head_dim"], config["qk_nope_head_dim"]
    value, low = config["v_head_dim"], config.get("q_lora_rank")
    query = (
        [(low, hidden, 1), (heads * (plain + rope), low, 1)] if low else [(heads * (plain + rope), hidden, 1)]
    )
    return [*query, (rank + rope, hidden, 1), (heads * (plain + value), rank, 1), (hidden, heads * value, 1)]


def linear_attention(config: dict) -> list[tuple[int, int, int]]:
    """Return (rows, columns, count) of the linears of one gated delta-rule layer (Qwen3-Next)."""
    key, value = delta_widths(config)
    hidden, heads = config["hidden_size"], config["linear_num_value_heads"]
    return [(2 * key + 2 * value, hidden, 1), (2 * heads, hidden, 1), (hidden, value, 1)]


def delta_widths(config: dict) -> tuple[int, int]:
    """Return the widths of all keys and of all values of a delta-rule layer."""
    return (config["linear_num_key_heads"] * config["linear_key_head_dim"],
            config["linear_num_value_heads"] * config["linear_value_head_dim"])  # fmt: skip


def experts(config: dict) -> int:
    """Return the number of routed experts of a layer; 1 for a dense model."""
    return next((config[key] for key in EXPERT_FIELDS if config.get(key)), 1)


def mixture_layers(config: dict) -> int:
    """Return how many layers have experts; the others have one dense MLP."""
    layers = config["num_hidden_layers"]
    if experts(config) == 1:
        return 0
    if config["model_type"] == "llama4_text":
        return layers // config.get("interleave_moe_layer_step", 1)
    if config.get("decoder_sparse_step", 1) != 1 or config.get("moe_layer_freq", 1) != 1:
        raise QCourseError(
            "experts in every n-th layer only (decoder_sparse_step, moe_layer_freq) are not planned"
        )
    return layers - config.get("first_k_dense_replace", 0) - len(config.get("mlp_only_layers") or [])


def mlp_linears(config: dict) -> list[Linear]:
    """Return the linears of all MLPs: dense layers, routed experts, shared experts."""
    hidden, kind, sparse = config["hidden_size"], config["model_type"], mixture_layers(config)
    dense = config["num_hidden_layers"] - sparse
    routed, chosen = experts(config), config.get("num_experts_per_tok") or 1
    inner = config.get("moe_intermediate_size") or config["intermediate_size"]
    wide = config.get("intermediate_size_mlp") or config["intermediate_size"]
    shared = config.get("shared_expert_intermediate_size") or (config.get("n_shared_experts") or 0) * inner
    shared = inner if kind == "llama4_text" else shared
    up = 1 if kind in ("nemotron", "starcoder2") else 2
    rows = [("mlp", wide, dense, dense), ("expert", inner, sparse * routed, sparse * chosen),
            ("mlp", shared, sparse, sparse)]  # fmt: skip
    return [item for name, width, count, active in rows if width and count
            for item in (Linear(name, width, hidden, up * count, up * active),
                         Linear(name, hidden, width, count, active))]  # fmt: skip


def linears(config: dict) -> tuple[Linear, ...]:
    """Return every linear of the decoder layers; routers, embeddings and the head are not among them."""
    kinds = kinds_of_layers(config)
    slow, fast = kinds.count("linear_attention"), len(kinds) - kinds.count("linear_attention")
    sizes = [(*size, many * fast) for *size, many in attention(config)]
    if slow:
        sizes += [(*size, many * slow) for *size, many in linear_attention(config)]
    found = [Linear("attention", rows, columns, count, count) for rows, columns, count in sizes]
    return (*found, *mlp_linears(config))


def caches(config: dict) -> tuple[Cache, ...]:
    """Return what the layers keep of every token: all of them, or those of a window."""
    kinds = kinds_of_layers(config)
    if is_latent(config):
        return (Cache(len(kinds), config["kv_lora_rank"] + config["qk_rope_head_dim"], None),)
    values = 2 * (config.get("num_key_value_heads") or config["num_attention_heads"]) * head_dim(config)
    windowed = sum(kind in WINDOWED for kind in kinds)
    window = config.get("attention_chunk_size", 8192) if config["model_type"] == "llama4_text" else (
        config.get("sliding_window"))  # fmt: skip
    found = (Cache(kinds.count("full_attention"), values, None), Cache(windowed, values, window))
    return tuple(cache for cache in found if cache.layers)


def state_values(config: dict) -> int:
    """Return the numbers that the delta-rule layers keep of a sequence, however long it is."""
    layers = kinds_of_layers(config).count("linear_attention")
    if not layers:
        return 0
    key, value = delta_widths(config)
    recurrent = value * config["linear_key_head_dim"]
    return layers * (recurrent + (2 * key + value) * (config["linear_conv_kernel_dim"] - 1))
