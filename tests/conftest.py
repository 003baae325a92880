"""Order (fast tests first), the table of lanes by engines that closes every session, and shared fixtures.

Session fixtures, each the pathlib.Path of a Hugging Face folder (config, bf16 safetensors,
byte-level BPE tokenizer of 512 entries, 2 layers, random weights with a spread like a trained model's):

    llama_tied        Llama, hidden 256, 4 heads, 4 KV heads, tied embeddings, chat template
    llama_gqa         Llama, hidden 256, 4 heads, 2 KV heads, untied
    qwen2             Qwen2, hidden 256, 4 heads, 2 KV heads, q/k/v biases (not zero), tied, no chat template
    qwen3             Qwen3, hidden 256, head_dim 64, 2 KV heads, q/k norms (not one), tied
    odd_width         Llama, hidden 172, head_dim 32, 2 KV heads, intermediate 300 (128 does not divide)
    small_folders     dict of all five by name

and small_tokens: LongTensor [8, 64] of token ids below 512.
Function fixture: small_model(folder, dtype=torch.float32) loads a fresh copy from a folder.
"""

from tests.fixtures import (  # noqa: F401
    llama_gqa,
    llama_tied,
    odd_width,
    qwen2,
    qwen3,
    small_folders,
    small_model,
    small_tokens,
)
from tests.session_hooks import (  # noqa: F401
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_protocol,
    pytest_terminal_summary,
)
