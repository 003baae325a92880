"""A fine-tuned model in vLLM: merged and quantized again, and as base with its adapter beside it."""

import copy
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qcourse import export, finetune, serve
from qcourse.quantize import quantize, reference
from qcourse.recipe import named
from qcourse.skills import units
from tests.engines import require, require_avx512
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
    base, merged = (
        finetune.merge(copy.deepcopy(model), adapter, weights) for adapter in ({}, finetune.deltas(adapted))
    )
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
    require_avx512("4-bit weights", "qlora")
    base, merged, _, tokenizer = trained
    judge = Judge(merged, windows)
    done = quantize(
        AutoModelForCausalLM.from_pretrained(merged, dtype=torch.bfloat16),
        named("gptq-w4g128"),
        windows[:8],
        progress=False,
    )
    folder = export.save(done.layers, done.model, tokenizer, tmp_path / "gptq", "gptq", done.recipe)
    engine = served(folder, windows)
    assert judge.verdict(judge.logits(reference(done)), engine).passed
    untuned = judge.logits(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    assert not judge.verdict(untuned, engine).passed  # the control: the base that was not tuned


def test_vllm_serves_the_adapter_beside_its_base(trained, windows):
    """By the token it says next: vLLM 0.32's CPU build cannot give log-probabilities of a prompt with LoRA.

    It then stops with "einsum(): subscript b has size 1 ... does not broadcast" in lora/ops/torch_ops.
    """
    require("vllm", "adapter")
    base, merged, adapter, _ = trained
    with serve.vllm(base, max_model_len=128, threads=1, adapter=adapter, progress=False) as server:
        said = [next_token(server, window) for window in windows[:16].tolist()]
    distance = {}
    for folder in (base, merged):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            expected = model(input_ids=windows[:16]).logits[:, -1].log_softmax(-1)
        errors = [abs(expected[row, token] - value) for row, (token, value) in enumerate(said)]
        distance[folder.name] = float(sum(errors) / len(errors))
    print(distance)
    assert distance["merged"] < 0.05 and distance["merged"] < 0.2 * distance["base"]


def next_token(server, window):
    """Return the id of the most likely next token and its log-probability."""
    answer = server.post(
        "/v1/completions",
        model=server.model,
        prompt=window,
        max_tokens=1,
        temperature=0,
        logprobs=1,
        return_tokens_as_token_ids=True,
    )
    found = json.loads(answer.content)["choices"][0]["logprobs"]
    return int(found["tokens"][0].removeprefix("token_id:")), found["token_logprobs"][0]
