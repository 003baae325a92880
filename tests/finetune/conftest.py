"""Fixtures: a byte-level tokenizer with a chat template, rows of the new skill, a tiny model."""

import pytest
import torch

from qcourse.skills import units
from tests.finetune.tiny_llama import tiny_llama

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer():
    """Return a byte-level BPE with single digits and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator([item.question + "\n" + item.answer for item in units.items("train")], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture
def model():
    """Return a fresh tiny Llama in float32."""
    return tiny_llama()


@pytest.fixture(scope="session")
def rows(tokenizer):
    """Return the first 64 training rows."""
    from qcourse.finetune import encode

    return encode(tokenizer, units.items("train", 64))


@pytest.fixture(scope="session")
def tokens():
    """Return calibration tokens, int64 [8, 32]."""
    return torch.randint(0, 400, (8, 32), generator=torch.Generator().manual_seed(1))
