"""Which model types are known here, and which kind of attention each of their layers has.

A model type is in FAMILIES or it is refused: a guessed shape looks like a plan and is none.
Sources: the configuration and modelling files of transformers 5.17, model by model.
"""

from __future__ import annotations

from qcourse.common import QCourseError

# model type: (vectors of width `hidden` in a layer's norms, norm on queries and keys, biased attention, tied
# by default)
FAMILIES = {
    "llama": (2, "", False, False), "mistral": (2, "", False, False), "mixtral": (2, "", False, False),
    "ministral": (2, "", False, False), "granite": (2, "", False, False), "phi3": (2, "", False, False),
    "smollm3": (2, "", False, True), "qwen2": (2, "", True, False), "qwen3": (2, "head", False, False),
    "qwen3_moe": (2, "head", False, False), "qwen3_next": (2, "head", False, False),
    "gemma2": (4, "", False, True), "gemma3_text": (4, "head", False, True),
    "olmo2": (2, "all", False, False), "glm4": (4, "", False, False), "glm4_moe": (2, "", False, False),
    "stablelm": (4, "", False, False), "starcoder2": (4, "", True, True),
    "nemotron": (4, "", False, False), "gpt_oss": (2, "", True, False), "llama4_text": (2, "", False, False),
    "minimax_m2": (2, "all", False, False), "deepseek_v2": (2, "latent", False, False),
    "deepseek_v3": (2, "latent", False, False), "kimi_k2": (2, "latent", False, False),
}  # fmt: skip
WINDOWED = ("sliding_attention", "chunked_attention")
MIXTURES = ("mixtral", "qwen3_moe", "qwen3_next", "glm4_moe", "gpt_oss", "llama4_text", "minimax_m2",
            "deepseek_v2", "deepseek_v3", "kimi_k2")  # fmt: skip
EXPERT_FIELDS = ("num_local_experts", "num_experts", "n_routed_experts")


def text_part(config: dict) -> dict:
    """Return the language model's part of a configuration (`text_config` of a model with vision)."""
    inner = config.get("text_config") or config
    tie = {"tie_word_embeddings": config["tie_word_embeddings"]} if "tie_word_embeddings" in config else {}
    return {**tie, **inner}


def check_known(config: dict, name: str) -> None:
    """Raise QCourseError for a model type that is not in FAMILIES or has fields that its type does not."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise QCourseError(f"the layers of model type {kind!r} ({name}) are not known here, so nothing is "
                           f"planned; known are {', '.join(sorted(FAMILIES))}")  # fmt: skip
    strange = () if is_latent(config) else ("kv_lora_rank",)
    strange += () if kind in MIXTURES else EXPERT_FIELDS
    if field := next((field for field in strange if config.get(field)), None):
        raise QCourseError(
            f"{name} has {field}, which the layers of model type {kind} do not; check its config"
        )


def kinds_of_layers(config: dict) -> list[str]:
    """Return the kind of attention of every layer, in the words of transformers' `layer_types`."""
    layers, kind = config["num_hidden_layers"], config["model_type"]
    if given := config.get("layer_types"):
        unknown = set(given) - {"full_attention", "linear_attention", *WINDOWED}
        if unknown or len(given) != layers:
            strange = ", ".join(sorted(unknown)) or "none"
            raise QCourseError(
                f"layer_types has {len(given)} entries for {layers} layers, unknown kinds: {strange}"
            )
        return given
    if interval := config.get("full_attention_interval"):
        return ["linear_attention" if (i + 1) % interval else "full_attention" for i in range(layers)]
    if kind == "llama4_text":
        return ["chunked_attention" if (i + 1) % 4 else "full_attention" for i in range(layers)]
    window = config.get("sliding_window")
    first = config.get("max_window_layers", 0) if kind.startswith("qwen") else 0
    if not window or (kind.startswith("qwen") and not config.get("use_sliding_window")):
        return ["full_attention"] * layers
    every = {"gemma2": 2, "gpt_oss": 2, "gemma3_text": config.get("sliding_window_pattern", 6)}.get(kind, 0)
    return ["full_attention" if i < first or every and (i + 1) % every == 0 else "sliding_attention"
            for i in range(layers)]  # fmt: skip


def is_latent(config: dict) -> bool:
    """Whether attention keeps one low-rank vector a token (DeepSeek's MLA)."""
    return FAMILIES[config["model_type"]][1] == "latent"
