"""Files that a library would fail on, or compute wrongly, run all the same or are refused in a sentence."""

import copy
from dataclasses import replace

import pytest
import torch

from qcourse import export, finetune, models
from qcourse.common import QCourseError
from qcourse.models.library_limits import dequantizes_rightly, kernel_of
from qcourse.quantize import quantize
from qcourse.recipe import named
from tests.engines import require
from tests.small_models import SMALL, write_small_model

CASES = {
    "gptq-w4-channel": ("gptq", "llama_gqa", "gptqmodel"),
    "gptq-w4g16": ("gptq", "llama_gqa", "gptqmodel"),
    "awq-w4-channel": ("awq", "llama_gqa", "gptqmodel"),
    "nf4": ("bitsandbytes", "odd_width", "bitsandbytes"),
}


def logits(model, tokens):
    with torch.inference_mode():
        return model(input_ids=tokens).logits.float()


def distance(base, recipe, form, calibration, folder):
    """Return how far a file's logits are from ours, divided by what quantization itself changes."""
    recipe = named(recipe) if isinstance(recipe, str) else recipe
    tokens = torch.arange(40, 104).reshape(2, 32)
    quantized = quantize(copy.deepcopy(base.model), recipe, calibration, progress=False)
    export.save(quantized.layers, quantized.model, base.tokenizer, folder, form)
    wanted = logits(quantized.model, tokens)
    found = logits(models.load(folder).model, tokens)
    return (found - wanted).norm() / (wanted - logits(base.model, tokens)).norm()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_loaded_file_computes_what_we_compute(name, small_folders, small_tokens, tmp_path):
    form, family, library = CASES[name]
    require("transformers", name)
    require(library, name)
    base = models.load(small_folders[family])
    assert distance(base, name, form, small_tokens, tmp_path / "file") < 0.1


def test_qlora_runs_on_rows_that_are_no_whole_blocks(odd_width, small_tokens):
    require("bitsandbytes", "qlora")
    base = models.load(odd_width).model
    theirs, ours = (finetune.add_adapters(finetune.quantize_base(copy.deepcopy(base), backend)).eval()
                    for backend in ("bitsandbytes", "own"))  # fmt: skip
    found, wanted, dense = (logits(model, small_tokens[:2]) for model in (theirs, ours, base))
    assert (found - wanted).norm() < 0.1 * (wanted - dense).norm()


@pytest.fixture
def narrow(monkeypatch, tmp_path):
    """A loaded model with rows of 96 columns and keys of 24 rows."""
    shape = dict(hidden_size=96, num_key_value_heads=1, head_dim=24, intermediate_size=128)
    monkeypatch.setitem(SMALL, "narrow", ("llama", shape))
    return models.load(write_small_model(tmp_path / "narrow", "narrow"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), [("gptq-w4g32", "gptq"), ("awq-w4g32", "awq")])
def test_keys_of_rows_that_are_no_sixteens(name, form, narrow, small_tokens, tmp_path):
    require("transformers", name)
    require("gptqmodel", name)
    assert distance(narrow, name, form, small_tokens, tmp_path / "file") < 0.1


def test_rows_that_bitsandbytes_gets_wrong_are_refused_and_left_to_our_own_nf4(narrow, tmp_path):
    """With blocks of 32, which divide 96, bitsandbytes is right."""
    require("bitsandbytes", "nf4")
    if dequantizes_rightly(96, 64):  # on a processor without AVX-512 it is
        assert distance(narrow, "nf4", "bitsandbytes", None, tmp_path / "right") < 0.1
        return
    quantized = quantize(copy.deepcopy(narrow.model), named("nf4"), None, progress=False)
    export.save(quantized.layers, quantized.model, narrow.tokenizer, tmp_path / "nf4", "bitsandbytes")
    with pytest.raises(QCourseError, match="rows of 96 weights wrongly.*divides 96"):
        models.load(tmp_path / "nf4")
    with pytest.raises(QCourseError, match="rows of 96 weights wrongly"):
        finetune.quantize_base(copy.deepcopy(narrow.model), "bitsandbytes")
    own = finetune.quantize_base(copy.deepcopy(narrow.model))
    assert all(isinstance(layer, finetune.QuantizedLinear) for layer in models.linears(own).values())
    smaller = replace(named("nf4"), group_size=32)
    assert distance(narrow, smaller, "bitsandbytes", None, tmp_path / "smaller") < 0.1


def test_fp4_files_load_in_bfloat16_only(llama_gqa, tmp_path):
    base = models.load(llama_gqa)
    quantized = quantize(base.model, named("mxfp4"), None, progress=False)
    export.save(quantized.layers, quantized.model, base.tokenizer, tmp_path, "compressed-tensors")
    with pytest.raises(QCourseError, match='not torch.float32.*dtype="bfloat16"'):
        models.load(tmp_path, dtype="float32")


def test_only_what_fails_is_asked_for():
    four_bits = {"quant_method": "gptq", "bits": 4}
    assert kernel_of(four_bits | {"group_size": 128}, {256}, "cpu") is None
    assert kernel_of(four_bits | {"group_size": -1}, {256}, "cuda") is None
    assert kernel_of(four_bits | {"group_size": -1, "bits": 8}, {256}, "cpu") is None
    assert kernel_of(four_bits | {"group_size": 32}, {256, 24}, "cpu") == "gptq_torch"
    assert kernel_of({"quant_method": "bitsandbytes"}, set(), "cpu") is None
