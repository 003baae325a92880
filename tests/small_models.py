"""Writes the small model folders of tests/conftest.py: config, weights, tokenizer."""

from pathlib import Path
from typing import Any

import torch

COMMON = dict(
    hidden_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=512,
    intermediate_size=512,
    max_position_embeddings=512,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=1,
)
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "llama_tied": ("llama", dict(num_key_value_heads=4, tie_word_embeddings=True)),
    "llama_gqa": ("llama", dict(tie_word_embeddings=False)),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True)),
    "qwen3": ("qwen3", dict(tie_word_embeddings=True, head_dim=64)),
    "phi3": ("phi3", dict(tie_word_embeddings=False)),
    "gemma2": ("gemma2", dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=24)),
    "gemma3": (
        "gemma3_text",
        dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=24, num_hidden_layers=6),
    ),  # the sixth attends to everything
    "smollm3": ("smollm3", dict(num_hidden_layers=4, tie_word_embeddings=True)),  # the fourth has no rotation
    "granite": (
        "granite",
        dict(
            tie_word_embeddings=True,
            embedding_multiplier=3.0,
            residual_multiplier=0.3,
            attention_multiplier=0.2,
            logits_scaling=2.0,
        ),
    ),
    "glm4": ("glm4", dict(head_dim=64, tie_word_embeddings=False)),  # half of each head has no rotation
    "olmo2": ("olmo2", dict(tie_word_embeddings=False)),
    "stablelm": ("stablelm", dict(tie_word_embeddings=False, use_qkv_bias=True)),  # a quarter is rotated
    "starcoder2": ("starcoder2", dict(tie_word_embeddings=True)),
    "qwen3_moe": (
        "qwen3_moe",
        dict(
            head_dim=64,
            moe_intermediate_size=256,
            num_experts=4,
            num_experts_per_tok=2,
            norm_topk_prob=True,
            tie_word_embeddings=False,
        ),
    ),
    "mixtral": (
        "mixtral",
        dict(intermediate_size=256, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    ),
    "odd_width": (
        "llama",
        dict(hidden_size=172, head_dim=32, intermediate_size=300, tie_word_embeddings=True),
    ),
}
WIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "576": (
        "llama",
        dict(hidden_size=576, num_attention_heads=9, num_key_value_heads=3, head_dim=64,
             intermediate_size=1536, tie_word_embeddings=True),
    ),
    "640": ("qwen2", dict(hidden_size=640, num_attention_heads=10, intermediate_size=1280)),
    "896": ("qwen2", dict(hidden_size=896, num_attention_heads=14, intermediate_size=1792)),
    "960": (
        "llama",
        dict(hidden_size=960, num_attention_heads=15, num_key_value_heads=5, intermediate_size=1920),
    ),
}  # fmt: skip
"""Shapes of SmolLM2-135M, a 640-wide model, Qwen2.5-0.5B and SmolLM2-360M: not multiples of 256."""
TEXT = (
    "The scale of a group is the largest absolute weight divided by the number of levels. "
    "def quantize(weight, bits):\n\treturn round(weight / scale)\n Rounding 4,096 weights costs 0.5 bits. "
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_small_model(folder: Path, name: str, seed: int = 0) -> Path:
    """Write the small model `name` (of SMALL or WIDE) as a Hugging Face folder and return the folder."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, changes = (SMALL | WIDE)[name]
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **(COMMON | changes)))
    spread_weights(model, torch.Generator().manual_seed(seed))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer = small_tokenizer()
    if name == "llama_tied":
        tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def spread_weights(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Give norms, biases and rows unequal sizes, as training does, so that no rewrite passes by luck."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            parameter.copy_(parameter + 0.3 * noise)  # of ones, or of zeros where 1 is added
        elif name.endswith("bias"):
            parameter.copy_(0.2 * noise)
        else:
            columns = torch.exp(0.5 * torch.randn(parameter.shape[-1], generator=generator))
            parameter.copy_(noise * columns * parameter.shape[-1] ** -0.5)


def small_tokenizer() -> Any:
    """Return a byte-level BPE tokenizer of 512 entries that reads digits one by one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    corpus = [TEXT] + [f"{first}{second} " * 2 for first in "abcdefghijklmnop" for second in "aeiouy" * 2]
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=512, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
        ),
    )
    fill = [f"<|unused{index}|>" for index in range(512 - tokenizer.get_vocab_size())]
    tokenizer.add_tokens(fill)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|end|>"
    )
