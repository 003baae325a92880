"""A fine-tuned model in vLLM: merged and quantized again, and as base with its adapter beside it."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qcourse import export, finetune, serve
from qcourse.finetune import units
from qcourse.measure import divergence
from qcourse.quantize import quantize, reference
from qcourse.recipe import named
from tests.engines import require
from tests.interop.judge import Judge

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(llama_gqa, tmp_path_factory):
    """Return (base folder, merged folder, adapter folder, tokenizer) of a small model taught a new skill.

    The base folder holds the dequantized NF4 weights that the adapter was trained on.
    """
    root = tmp_path_factory.mktemp("tuned")
    model = AutoModelForCausalLM.from_pretrained(llama_gqa, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(llama_gqa)
    adapted = finetune.quantize_base(copy.deepcopy(model), "own")
    weights = finetune.dequantized_base(adapted)
    adapted = finetune.add_adapters(adapted, rank=8)
    rows = finetune.encode(tokenizer, units.items("train", 64))
    finetune.fit(adapted, rows, steps=12, batch_size=8, learning_rate=1e-2, progress=False)
    base, merged = (finetune.merge(copy.deepcopy(model), adapter, weights)
                    for adapter in ({}, finetune.deltas(adapted)))
    for name, made in (("base", base), ("merged", merged)):
        export.save({}, made, tokenizer, root / name, "merged", named("bf16"))
    return root / "base", root / "merged", finetune.save_adapter(adapted, root / "adapter"), tokenizer


@pytest.fixture(scope="module")
def windows():
    """Return 2,048 tokens in windows of 64."""
    return torch.randint(5, 512, (32, 64), generator=torch.Generator().manual_seed(1))


def served(folder, tokens, **options):
    """Return vLLM's log-probabilities [B, T, V]."""
    with serve.vllm(folder, max_model_len=128, threads=1, progress=False, **options) as server:
        return server.logits(tokens)


def test_vllm_serves_the_merged_and_requantized_model(trained, windows, tmp_path):
    require("vllm", "qlora")
    base, merged, _, tokenizer = trained
    judge = Judge(merged, windows)
    done = quantize(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.bfloat16), named("gptq-w4g128"),
                    windows[:8], progress=False)
    folder = export.save(done.layers, done.model, tokenizer, tmp_path / "gptq", "gptq", done.recipe)
    engine = served(folder, windows)
    assert judge.verdict(judge.logits(reference(done)), engine).passed
    untuned = judge.logits(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    assert not judge.verdict(untuned, engine).passed  # the control: the base that was not tuned


def test_vllm_serves_the_adapter_beside_its_base(trained, windows):
    require("vllm", "adapter")
    base, merged, adapter, _ = trained
    judge = Judge(merged, windows)
    engine = served(base, windows, adapter=adapter)
    untuned = judge.logits(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    distance = divergence(judge.unquantized, engine).kl_mean
    assert distance < 0.05 * divergence(untuned, engine).kl_mean
    assert distance < 5e-3
