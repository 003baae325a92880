"""A Llama of two layers, small enough to train inside a test."""

import torch


def tiny_llama(dtype: torch.dtype = torch.float32):
    """Return a random Llama: hidden 128, two layers, two KV heads, always the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        tie_word_embeddings=True,
        max_position_embeddings=256,
    )
    return LlamaForCausalLM(config).to(dtype).eval()
