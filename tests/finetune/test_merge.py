"""Merging: exact on the base that was trained against, off on the original, refused where wrong."""

import pytest
import torch

from qcourse.common import QCourseError
from qcourse.finetune import add_adapters, deltas, dequantized_base, fit, merge, quantize_base
from qcourse.models import linears
from tests.finetune.tiny_llama import tiny_llama


@pytest.fixture(scope="module")
def trained(rows):
    """Return an adapted model trained for 30 steps on an NF4 base (our codes)."""
    adapted = add_adapters(quantize_base(tiny_llama(), "own"), rank=4)
    fit(adapted, rows, steps=30, batch_size=16, learning_rate=1e-2, progress=False)
    return adapted


def test_merging_into_the_dequantized_base_is_exact(trained, rows):
    ids = torch.tensor([rows[0].ids])
    unmerged = trained(input_ids=ids).logits
    right = merge(tiny_llama(), deltas(trained), dequantized_base(trained))(input_ids=ids).logits
    wrong = merge(tiny_llama(), deltas(trained))(input_ids=ids).logits
    torch.testing.assert_close(right, unmerged, rtol=1e-4, atol=1e-4)
    assert (wrong - unmerged).abs().max() > 100 * (right - unmerged).abs().max()


def test_deltas_are_what_peft_adds(trained):
    found = deltas(trained)
    assert found.keys() == set(linears(tiny_llama()))
    module = trained.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    x = torch.randn(5, 128)
    expected = module(x) - module.base_layer(x)
    torch.testing.assert_close(x @ found["model.layers.0.self_attn.q_proj"].T, expected, rtol=1e-4, atol=1e-5)
    assert any(delta.abs().max() > 0 for delta in found.values())


def test_a_repacked_base_is_refused(rows):
    from tests.engines import require

    require("bitsandbytes")
    from bitsandbytes.functional import has_avx512bf16

    base = quantize_base(tiny_llama(torch.bfloat16), "bitsandbytes").eval()
    with torch.no_grad():
        base(input_ids=torch.tensor([rows[0].ids]))
    if has_avx512bf16():
        with pytest.raises(QCourseError, match="before the first evaluation"):
            dequantized_base(base)
    else:
        assert dequantized_base(base).keys() == set(linears(tiny_llama()))


def test_an_adapter_of_another_model_is_refused(model):
    with pytest.raises(QCourseError, match="no linear"):
        merge(model, {"model.layers.9.self_attn.q_proj": torch.zeros(128, 128)})
    with pytest.raises(QCourseError, match="adapter of"):
        merge(model, {"model.layers.0.self_attn.k_proj": torch.zeros(128, 128)})


def test_merged_model_can_be_calibrated_and_quantized_again(trained, tokens):
    from qcourse.quantize import quantize
    from qcourse.recipe import named

    merged = merge(tiny_llama(), deltas(trained), dequantized_base(trained))
    again = quantize(merged, named("gptq-w4g64"), tokens, progress=False)
    assert again.layers.keys() == set(linears(tiny_llama()))
    assert all(layer.codes.max() <= 15 for layer in again.layers.values())
