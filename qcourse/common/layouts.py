"""The decoder layers of the architectures that are rewritten here: one row each, read by all that differs."""

from __future__ import annotations

from dataclasses import dataclass

from qcourse.common.errors import QCourseError


@dataclass(frozen=True)
class Layout:
    """What a decoder layer of one architecture is made of.

    gguf: the architecture's name in GGUF. attention, mlp: the linears that read the input of attention and
    of the MLP; where several are fused, values and `up` are the last rows. norms: before attention, after it,
    before the MLP, after it, "" where there is none. norm_offset: what is added to a norm's weight before it
    multiplies. window_every: llama.cpp gives each layer a sliding window but every n-th one; 0: none has one.
    eps: the field of what norms add to a variance; another than rms_norm_eps is LayerNorm's, which takes the
    mean away and has a bias. down: the MLP's last linear. gated: the MLP multiplies by its `up`. lacks:
    fields that, where they are set, make other layers than these.
    experts: gate, up and down of an expert, as checkpoints name them in `block`; () where all MLPs are dense.
    """

    gguf: str
    attention: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    mlp: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    norms: tuple[str, str, str, str] = ("input_layernorm", "", "post_attention_layernorm", "")
    norm_offset: float = 0.0
    window_every: int = 0
    eps: str = "rms_norm_eps"
    down: str = "down_proj"
    gated: bool = True
    lacks: tuple[str, ...] = ()
    experts: tuple[str, ...] = ()
    block: str = "mlp"

    def stages(self, experts: int = 0) -> tuple[tuple[str, ...], ...]:
        """Return the linears that share each of a layer's inputs, in forward order; 0 experts: dense."""
        attention = self.attention, ("self_attn.o_proj",)
        if not experts:
            return *attention, self.mlp, (f"mlp.{self.down}",)
        places = [self.expert(number) for number in range(experts)]
        return *attention, *(stage for gate, up, down in places for stage in ((gate, up), (down,)))

    def expert(self, number: int | str) -> list[str]:
        """Return gate, up and down of one expert, relative to the layer."""
        return [f"{self.block}.experts.{number}.{name}" for name in self.experts]


OLMO = "", "post_attention_layernorm", "", "post_feedforward_layernorm"
GLM = "input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"
GEMMA = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
         "post_feedforward_layernorm")  # fmt: skip
LAYOUTS = {
    "llama": Layout("llama"),
    "mistral": Layout("llama"),
    "qwen2": Layout("qwen2"),
    "qwen3": Layout("qwen3"),
    "phi3": Layout("phi3", ("self_attn.qkv_proj",), ("mlp.gate_up_proj",)),
    "gemma2": Layout("gemma2", norms=GEMMA, norm_offset=1.0, window_every=2),
    "gemma3_text": Layout("gemma3", norms=GEMMA, norm_offset=1.0, window_every=6),
    "smollm3": Layout("smollm3"),
    "granite": Layout("granite"),
    "olmo2": Layout("olmo2", norms=OLMO),
    "glm4": Layout("glm4", mlp=("mlp.gate_up_proj",), norms=GLM),
    "stablelm": Layout("stablelm", eps="layer_norm_eps", lacks=("use_parallel_residual", "qk_layernorm")),
    "starcoder2": Layout("starcoder2", mlp=("mlp.c_fc",), eps="norm_epsilon", down="c_proj", gated=False),
    "qwen3_moe": Layout("qwen3moe", experts=("gate_proj", "up_proj", "down_proj")),
    "mixtral": Layout("llama", experts=("w1", "w3", "w2"), block="block_sparse_moe"),
}
"""By transformers' model_type."""


def layout(config: object) -> Layout:
    """Return the row of a model's configuration; QCourseError names an architecture that has none."""
    model_type = getattr(config, "model_type", None)
    if model_type not in LAYOUTS:
        raise QCourseError(f"architecture {model_type!r} is not supported; these are: {', '.join(LAYOUTS)}")
    found = LAYOUTS[model_type]
    if strange := [name for name in found.lacks if getattr(config, name, False)]:
        raise QCourseError(f"{model_type} with {strange[0]} is not supported; without it is")
    return found
