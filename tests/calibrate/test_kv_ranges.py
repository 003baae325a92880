"""Ranges of keys and values against rotary embedding by hand and against what transformers caches."""

import sys

import pytest
import torch
from torch import Tensor

from qcourse.calibrate import kv_ranges
from qcourse.common import QCourseError

FAMILIES = ("llama_gqa", "qwen2", "qwen3", "mistral")


@pytest.fixture
def family(small_folders, small_model):
    """Return a function from a family's name to its small float32 model."""

    def load(name: str, dtype: torch.dtype = torch.float32):
        return mistral(dtype) if name == "mistral" else small_model(small_folders[name], dtype)

    return load


def mistral(dtype: torch.dtype):
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(3)
    config = MistralConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=96, vocab_size=512, sliding_window=32, initializer_range=0.3,
    )  # fmt: skip
    return MistralForCausalLM(config).eval().to(dtype)


def rms_norm(values: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return values * weight.double() / (values.square().mean(-1, keepdim=True) + epsilon).sqrt()


def first_layer_by_hand(model, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values of decoder layer 0, float64 [sequences, tokens, kv_heads, head_dim].

    Rotary embedding as a product of complex numbers: channel c turns with channel c + head_dim / 2.
    """
    config, layer = model.config, model.model.layers[0]
    hidden = model.model.embed_tokens.weight.double()[tokens]
    hidden = rms_norm(hidden, layer.input_layernorm.weight, config.rms_norm_eps)
    width = layer.self_attn.head_dim
    states = []
    for linear in (layer.self_attn.k_proj, layer.self_attn.v_proj):
        bias = 0 if linear.bias is None else linear.bias.double()
        states.append((hidden @ linear.weight.double().T + bias).unflatten(-1, (-1, width)))
    key, value = states
    if hasattr(layer.self_attn, "k_norm"):
        key = rms_norm(key, layer.self_attn.k_norm.weight, config.rms_norm_eps)
    theta = config.rope_parameters["rope_theta"]
    speed = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(tokens.shape[1], dtype=torch.float64)[:, None] * speed
    turned = torch.complex(*key.chunk(2, -1)) * torch.polar(torch.ones_like(angle), angle)[None, :, None]
    return torch.cat([turned.real, turned.imag], -1), value


@pytest.mark.parametrize("name", FAMILIES)
def test_first_layer_is_what_the_formulas_give(family, small_tokens, name):
    model = family(name)
    key, value = first_layer_by_hand(model, small_tokens)
    found = kv_ranges(model, small_tokens)[0]
    assert found.key.shape == (2,) and found.key_channels.shape == (
        2,
        model.model.layers[0].self_attn.head_dim,
    )
    for ours, wanted in ((found.key_channels, key), (found.value_channels, value)):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), wanted.abs().amax((0, 1)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.key.double(), key.abs().amax((0, 1, 3)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.value.double(), value.abs().amax((0, 1, 3)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_every_layer_is_what_the_cache_holds(family, small_tokens, name):
    from transformers import DynamicCache

    model = family(name)
    cache = DynamicCache()  # without a configuration no sliding window forgets the first tokens
    before = model(small_tokens, past_key_values=cache, use_cache=True).logits
    found = kv_ranges(model, small_tokens)
    assert len(found) == len(cache.layers) == 2
    for ours, held in zip(found, cache.layers, strict=True):
        torch.testing.assert_close(ours.key_channels, held.keys.abs().amax((0, 2)))
        torch.testing.assert_close(ours.value_channels, held.values.abs().amax((0, 2)))
    assert torch.equal(model(small_tokens).logits, before)  # nothing is left behind


def test_keys_before_rotary_embedding_have_other_ranges(family, small_tokens):
    """The control: without the rotation the channels' ranges differ, so the tests above see it."""
    model = family("llama_gqa")
    plain = first_layer_by_hand(model, small_tokens[:, :1].expand(-1, 64))[0]  # position 0 turns nothing
    turned = kv_ranges(model, small_tokens)[0].key_channels.double()
    assert ((plain[:, 0].abs().amax(0) - turned).abs() / turned).median() > 0.1


def test_batches_of_tokens_are_put_together(family, small_tokens, monkeypatch):
    model = family("llama_gqa")
    whole = kv_ranges(model, small_tokens)
    monkeypatch.setattr(sys.modules["qcourse.calibrate.kv_ranges"], "TOKENS_AT_ONCE", 64)
    for ours, wanted in zip(kv_ranges(model, small_tokens), whole, strict=True):
        torch.testing.assert_close(ours.key_channels, wanted.key_channels)
        torch.testing.assert_close(ours.value_channels, wanted.value_channels)
    assert kv_ranges(model, small_tokens[:1])[0].key.max() <= whole[0].key.max()


def test_blocks_of_queries_see_the_same_keys_in_bf16(family, small_tokens):
    exact, rounded = family("llama_gqa"), family("llama_gqa", torch.bfloat16)
    for ours, wanted in zip(kv_ranges(rounded, small_tokens), kv_ranges(exact, small_tokens), strict=True):
        torch.testing.assert_close(ours.key, wanted.key, rtol=0.05, atol=0.01)
    assert rounded.config._attn_implementation == "sdpa"


def test_no_tokens_and_values_that_are_not_finite_are_refused(family, small_tokens):
    model = family("llama_gqa")
    with pytest.raises(QCourseError, match=r"token ids \[sequences, length\], not \[0, 64\]"):
        kv_ranges(model, small_tokens[:0])
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight[0, 0] = float("inf")
    with pytest.raises(QCourseError, match="the values of decoder layer 1 hold NaN or infinity"):
        kv_ranges(model, small_tokens)
    assert not model.model.layers[0].self_attn._forward_pre_hooks
