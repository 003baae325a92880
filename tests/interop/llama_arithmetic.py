"""How llama.cpp multiplies: quantized weights meet inputs rounded to int8 in blocks, bf16 ones bf16 inputs,
and keys and values, which lie in the cache as float16, meet float16 queries and probabilities.

Source: ggml's quantize_row_q8_0 and quantize_row_q8_K, and the vec_dot_type of each weight type.
"""

from pathlib import Path
from types import MethodType

import torch
from torch import Tensor, nn
from transformers.activations import GELUTanh

from qcourse.common.layouts import layout
from qcourse.export.gguf import read, tensor_types
from qcourse.gguf_reader.names import EXPERT, hf_names


def q8_0(inputs: Tensor) -> Tensor:
    """Round inputs [..., n] to int8 in blocks of 32 with a float16 scale, and back."""
    blocks = inputs.unflatten(-1, (-1, 32))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    codes = torch.where(scale > 0, blocks / scale, 0).round()
    return (codes * scale.half().float()).flatten(-2)


def q8_k(inputs: Tensor) -> Tensor:
    """Round inputs [..., n] to int8 in blocks of 256, the largest magnitude going to -127, and back."""
    blocks = inputs.unflatten(-1, (-1, 256))
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    inverse = torch.where(largest != 0, -127 / largest, 0)
    codes = (blocks * inverse).round().clamp(max=127)
    return torch.where(inverse != 0, codes / inverse, 0).flatten(-2)


def bf16(inputs: Tensor) -> Tensor:
    """Round inputs to bfloat16."""
    return inputs.bfloat16().float()


def f16(inputs: Tensor) -> Tensor:
    """Round inputs to float16."""
    return inputs.half().float()


INPUTS = {"BF16": bf16, "F16": f16, "Q8_0": q8_0, "Q4_0": q8_0, "Q5_0": q8_0}


def attention(module, query, key, value, attention_mask, scaling, **ignored):
    """Attend causally with float16 factors and float32 sums; tensors [B, heads, T, head_dim]."""
    repeats = query.shape[1] // key.shape[1]
    key, value = (f16(tensor).repeat_interleave(repeats, 1) for tensor in (key, value))
    scores = f16(query) @ key.transpose(2, 3) * scaling
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    weights = f16(scores.masked_fill(hidden, -torch.inf).softmax(-1))
    return (weights @ value).transpose(1, 2).contiguous(), weights


def as_llama_cpp(model: nn.Module, path: Path) -> nn.Module:
    """Give a float32 model the weights of a GGUF file and llama.cpp's rounding of every linear's inputs."""
    from transformers import AttentionInterface

    AttentionInterface.register("llama.cpp", attention)
    model.set_attn_implementation("llama.cpp")
    return rounding_inputs(model, path)


def rounding_inputs(model: nn.Module, path: Path) -> nn.Module:
    """Do the same for linears only: attention in float32, with the windows and caps that a model has."""
    model.load_state_dict(read(path), strict=False)
    model.tie_weights()
    types = tensor_types(path)
    names = hf_names(layout(model.config).gguf, model.config.num_hidden_layers, list(types))
    kinds = {full.removesuffix(".weight"): types[name][0] for name, full in names.items()}
    kinds.setdefault("lm_head", kinds["model.embed_tokens"])
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            rounding = INPUTS.get(kinds[EXPERT.sub("", name)], q8_k)
            module.forward = MethodType(rounded_forward(rounding), module)
    for layer in model.model.layers:
        if isinstance(getattr(layer.mlp, "act_fn", None), GELUTanh):
            layer.mlp.act_fn = TabledGelu()
    return model


class TabledGelu(nn.Module):
    """GELU from ggml's table: float16 in, float16 out; beyond 10 it is the input, or 0."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return GELU of inputs, float32."""
        found = f16(nn.functional.gelu(f16(inputs), approximate="tanh"))
        return torch.where(inputs.abs() < 10, found, inputs.clamp(min=0))


def rounded_forward(rounding):
    """Return a linear's forward that rounds its inputs first."""

    def forward(self: nn.Linear, inputs: Tensor) -> Tensor:
        return nn.functional.linear(rounding(inputs.float()), self.weight, self.bias)

    return forward
