"""How a GGUF says what attention sees: windows and caps, where llama.cpp knows them; the rest is refused."""

from typing import Any

from qcourse.common import QCourseError
from qcourse.common.layouts import layout
from qcourse.gguf_reader.config import MULTIPLIERS, SCALED_BY_HIDDEN

ACTIVATIONS = dict.fromkeys(("gemma2", "gemma3", "starcoder2"), "gelu_pytorch_tanh")  # silu elsewhere
CAPS = ("attn_logit_softcapping", "final_logit_softcapping")


def add_attention(writer: Any, config: Any) -> None:
    """Write window, caps and multipliers of an architecture whose llama.cpp has them."""
    for name, key in MULTIPLIERS.items() if config.model_type == "granite" else ():
        writer.add_float32(f"{writer.arch}.{key}", getattr(config, name))
    if layout(config).window_every:
        writer.add_sliding_window(config.sliding_window or config.max_position_embeddings)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def check_attention(config: Any) -> None:
    """Raise QCourseError for what llama.cpp computes otherwise, whatever the file says."""
    check_activation(config)
    check_window(config)
    check_caps(config)
    check_scale(config)
    check_layers(config)


def check_activation(config: Any) -> None:
    """Raise QCourseError for another function in the MLP than llama.cpp has for the architecture."""
    arch = layout(config).gguf
    given = getattr(config, "hidden_activation", None) or config.hidden_act
    known = ACTIVATIONS.get(arch, "silu")
    if given != known and (given, known) != ("swish", "silu"):
        raise QCourseError(f"the MLP's activation is {given} and llama.cpp's {arch} always computes {known}; "
                           "such a model is not written to GGUF")  # fmt: skip


def check_window(config: Any) -> None:
    """Raise QCourseError for layers that look back less far in the model than in llama.cpp, or farther.

    llama.cpp's llama, qwen2, qwen3 and phi3 ignore attention.sliding_window and attend to everything; its
    gemma2 and gemma3 give the window to each layer but every second, or sixth.
    """
    window, every = getattr(config, "sliding_window", None), layout(config).window_every
    if not window or window >= config.max_position_embeddings:
        return
    layers = range(config.num_hidden_layers)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * len(layers)
    known = ["sliding_attention" if every and (i + 1) % every else "full_attention" for i in layers]
    if list(kinds) == known:
        return
    wanted = f"one for all layers but each of number {every}, {2 * every}, ..." if every else "no window"
    raise QCourseError(
        f"attention looks back {window} of {config.max_position_embeddings} tokens, and llama.cpp has "
        f"{wanted} for {config.model_type}: set max_position_embeddings to {window} in config.json"
    )


def check_caps(config: Any) -> None:
    """Raise QCourseError for a cap that llama.cpp does not apply, or for one missing that it always does."""
    for name in CAPS:
        cap, known = getattr(config, name, None), config.model_type == "gemma2"
        if (cap is not None) != known:
            raise QCourseError(
                f"{name} is {cap} and llama.cpp's {layout(config).gguf} "
                f"{'always caps' if known else 'never caps'}; set it in config.json as the model was trained"
            )


def check_scale(config: Any) -> None:
    """Raise QCourseError for scores divided by another root than llama.cpp divides them by."""
    if (given := getattr(config, "query_pre_attn_scalar", None)) is None:
        return
    by_hidden = config.num_hidden_layers == SCALED_BY_HIDDEN[layout(config).gguf]
    known = config.hidden_size // config.num_attention_heads if by_hidden else config.head_dim
    if given != known:
        raise QCourseError(
            f"query_pre_attn_scalar is {given} and llama.cpp computes {config.model_type} of "
            f"{config.num_hidden_layers} layers with {known}; such a model is not written to GGUF"
        )


def check_layers(config: Any) -> None:
    """Raise QCourseError for a SmolLM3 or an OLMo 2 whose layers have what llama.cpp's never have."""
    turned, biases = getattr(config, "no_rope_layers", None), ("attention_bias", "mlp_bias")
    if config.model_type == "smollm3" and list(turned) != [(i + 1) % 4 != 0 for i in range(len(turned))]:
        raise QCourseError(f"no_rope_layers is {list(turned)} and llama.cpp's smollm3 turns all layers but "
                           "each fourth; such a model is not written to GGUF")  # fmt: skip
    if config.model_type in ("smollm3", "olmo2") and any(getattr(config, key, False) for key in biases):
        raise QCourseError(f"the linears have biases and llama.cpp's {config.model_type} knows none; such a "
                           "model is not written to GGUF")  # fmt: skip
