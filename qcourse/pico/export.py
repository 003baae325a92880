"""A trained model as a folder that transformers, vLLM and llama.cpp's converter load."""

import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from qcourse.common import write_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def config(shape: object) -> dict:
    """Return config.json of transformers for a shape."""
    return asdict(shape) | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "dtype": "bfloat16", "torch_dtype": "bfloat16", "tie_word_embeddings": True, "attention_bias": False,
        "mlp_bias": False, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
        "rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "initializer_range": 0.02, "use_cache": True
    }  # fmt: skip


def export(model: nn.Module, tokenizer: Path, folder: Path) -> None:
    """Write bf16 weights, configuration and tokenizer into `folder`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"model.{name}": value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", config(model.shape))
    write_json(
        folder / "generation_config.json",
        {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0, "do_sample": False},
    )
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, folder / name)
