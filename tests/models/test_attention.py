"""Attention in blocks against float64, inside a model, and where torch's own takes over."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from qcourse.models.attention import blockwise_attention, causal_attention


@pytest.mark.parametrize("length", [1, 64, 100, 193])
@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (6, 2)])
def test_blocks_equal_the_formula_in_float64(length, heads, kv_heads):
    generator = torch.Generator().manual_seed(length)
    query, key, value = (
        torch.randn(2, length, count, 32, generator=generator).to(torch.bfloat16).transpose(1, 2)
        for count in (heads, kv_heads, kv_heads)
    )
    ours = causal_attention(query * 3, key, value, 0.25)
    exact = scaled_dot_product_attention(
        (query * 3).double(), key.double(), value.double(), is_causal=True, scale=0.25, enable_gqa=True
    )
    assert ours.shape == query.shape and ours.dtype == torch.bfloat16
    assert (ours.double() - exact).norm() / exact.norm() < 4e-3  # probabilities and result are bf16
    with torch.no_grad():
        value[:, :, -1] += 100  # the last value reaches the last query only
    again = causal_attention(query * 3, key, value, 0.25)
    assert torch.equal(again[:, :, :-1], ours[:, :, :-1])


@pytest.mark.parametrize("name", ["llama_gqa", "qwen2", "qwen3"])
@torch.no_grad()
def test_model_computes_the_same_inside(small_folders, small_model, small_tokens, name):
    model, exact = small_model(small_folders[name], torch.bfloat16), small_model(small_folders[name])
    wanted, plain = exact(small_tokens).logits, model(small_tokens).logits
    with blockwise_attention(model.config):
        ours = model(small_tokens).logits
        assert not torch.equal(ours, plain)  # the blocks did run
    assert torch.equal(model(small_tokens).logits, plain)
    assert (ours - wanted).norm() < 1.1 * (plain - wanted).norm()


@torch.no_grad()
def test_padding_other_dtypes_and_other_implementations_are_left_alone(small_model, llama_gqa, small_tokens):
    for dtype, padded in ((torch.float32, False), (torch.bfloat16, True)):
        model, mask = small_model(llama_gqa, dtype), torch.ones_like(small_tokens)
        mask[:, :5] = 0 if padded else 1
        plain = model(small_tokens, attention_mask=mask).logits
        with blockwise_attention(model.config):
            assert torch.equal(model(small_tokens, attention_mask=mask).logits, plain)
    model.config._attn_implementation = "eager"
    with blockwise_attention(model.config):
        assert model.config._attn_implementation == "eager"
    model.config._attn_implementation = "sdpa"
    with pytest.raises(KeyError), blockwise_attention(model.config):
        raise KeyError
    assert model.config._attn_implementation == "sdpa"
