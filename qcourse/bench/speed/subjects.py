"""The models that are timed: pico, and Llama shapes with random weights made for the benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from qcourse.common import atomic_folder, shared_folder

SHAPES: dict[str, dict[str, int]] = {
    "llama-160m": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=12,
                       intermediate_size=3072, vocab_size=32000),
    "llama-1.1b": dict(hidden_size=2048, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4,
                       intermediate_size=5632, vocab_size=32000),
}  # fmt: skip


@dataclass
class Subject:
    """A model to time, by name; calibration and evaluation tokens int64 [sequences, 512]."""

    name: str
    calibration: Tensor
    evaluation: Tensor

    def fresh(self, dtype: str = "bfloat16") -> Any:
        """Return the model, newly loaded."""
        from qcourse import models

        if self.name not in SHAPES:
            return models.load(self.name, dtype=dtype).model
        import torch
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(made(self.name), dtype=getattr(torch, dtype)).eval()


def pico(model: str = "pico", sequences: int = 64) -> Subject:
    """Return pico (or another model by name) with its usual calibration text, 16 windows to evaluate."""
    from qcourse import measure, models
    from qcourse.pipeline import calibration_tokens

    tokenizer = models.load(model).tokenizer
    evaluation = measure.evaluation_tokens(tokenizer, 16, 512).tokens
    return Subject(model, calibration_tokens(tokenizer, sequences), evaluation)


def random_llama() -> Subject:
    """Return the small model of SHAPES with random tokens: speed does not ask what they say."""
    import torch

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, SHAPES["llama-160m"]["vocab_size"], (20, 512), generator=generator)
    return Subject("llama-160m", tokens[:16], tokens[16:])


def made(name: str) -> Path:
    """Return the folder of a model of SHAPES under build/, its random weights made if they are not there."""
    folder = shared_folder() / "bench" / name
    if not folder.is_dir():
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=False, **SHAPES[name]))
        finally:
            torch.set_default_dtype(torch.float32)
        with atomic_folder(folder) as temporary:
            model.save_pretrained(temporary)
    return folder
