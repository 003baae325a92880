"""Shapes and group sizes for which a library's own choice of CPU kernel fails run in bf16 all the same."""

import copy

import pytest
import torch

from qcourse import export, finetune, models
from qcourse.models.cpu_kernels import kernel_of
from qcourse.quantize import quantize
from qcourse.recipe import named
from tests.engines import require

CASES = {
    "gptq-w4-channel": ("gptq", "llama_gqa", "gptqmodel"),
    "gptq-w4g16": ("gptq", "llama_gqa", "gptqmodel"),
    "awq-w4-channel": ("awq", "llama_gqa", "gptqmodel"),
    "nf4": ("bitsandbytes", "odd_width", "bitsandbytes"),
}


def logits(model, tokens):
    with torch.inference_mode():
        return model(input_ids=tokens).logits.float()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_loaded_file_computes_what_we_compute(name, small_folders, small_tokens, tmp_path):
    """Apart by less than a tenth of what quantization itself changes."""
    form, family, library = CASES[name]
    require("transformers", name)
    require(library, name)
    base = models.load(small_folders[family])
    tokens = small_tokens[:2]
    quantized = quantize(copy.deepcopy(base.model), named(name), small_tokens, progress=False)
    export.save(quantized.layers, quantized.model, base.tokenizer, tmp_path / "file", form)
    wanted = logits(quantized.model, tokens)
    found = logits(models.load(tmp_path / "file").model, tokens)
    assert (found - wanted).norm() < 0.1 * (wanted - logits(base.model, tokens)).norm()


def test_qlora_runs_on_rows_that_are_no_whole_blocks(odd_width, small_tokens):
    require("bitsandbytes", "qlora")
    base = models.load(odd_width).model
    theirs, ours = (finetune.add_adapters(finetune.quantize_base(copy.deepcopy(base), backend)).eval()
                    for backend in ("bitsandbytes", "own"))  # fmt: skip
    found, wanted, dense = (logits(model, small_tokens[:2]) for model in (theirs, ours, base))
    assert (found - wanted).norm() < 0.1 * (wanted - dense).norm()


def test_only_what_fails_is_asked_for():
    four_bits = {"quant_method": "gptq", "bits": 4}
    assert kernel_of(four_bits | {"group_size": 128}, "cpu") is None
    assert kernel_of(four_bits | {"group_size": -1}, "cuda") is None
    assert kernel_of(four_bits | {"group_size": -1, "bits": 8}, "cpu") is None
    assert kernel_of({"quant_method": "bitsandbytes"}, "cpu") is None
