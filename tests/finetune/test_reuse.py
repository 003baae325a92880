"""Scales of the base on a tuned model: the grid is kept, what leaves it is clipped, and both are measured."""

import pytest
import torch

from qcourse.common import QCourseError
from qcourse.finetune import (
    clipped_share,
    input_scales,
    merge,
    on_grid_of,
    reuse_scales,
    use_input_scales,
)
from qcourse.measure import divergence
from qcourse.models import linears
from qcourse.numerics.affine import quantize_affine
from qcourse.numerics.codebook import quantize_codebook
from qcourse.quantize import quantize
from qcourse.recipe import named
from tests.finetune.tiny_llama import tiny_llama

LOUD = "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def louder():
    """Return an adapter that makes one layer eight times louder, by linear name."""
    return {LOUD: 7 * linears(tiny_llama())[LOUD].weight.detach()}


def test_codes_are_chosen_on_the_given_grid():
    weight = torch.randn(8, 128)
    grid = quantize_affine(weight, 4, 64, symmetric=False)
    assert torch.equal(on_grid_of(weight, grid).codes, grid.codes)
    moved = on_grid_of(2 * weight, grid)
    assert torch.equal(moved.scale, grid.scale) and torch.equal(moved.zero_point, grid.zero_point)
    low, high = grid.dequantize().amin(), grid.dequantize().amax()
    assert moved.dequantize().min() >= low - 1e-6 and moved.dequantize().max() <= high + 1e-6
    assert (moved.dequantize() - 2 * weight).abs().max() > grid.scale.max()  # outside: clipped, not rounded


def test_columns_in_another_order_keep_their_scales(tokens):
    base = quantize(tiny_llama(), named("gptq-w4g64-act"), tokens, progress=False)
    name, layer = next(iter(base.layers.items()))
    again = on_grid_of(layer.dequantize(), layer)
    assert layer.g_idx is not None and torch.equal(again.codes, layer.codes)


def test_old_scales_are_worse_on_a_model_that_moved(louder, tokens):
    tuned = merge(tiny_llama(), louder)
    base = quantize(tiny_llama(), named("rtn-w4g64"), progress=False)
    old = merge(tiny_llama(), louder)
    stored = reuse_scales(old, base.layers)
    new = quantize(merge(tiny_llama(), louder), named("rtn-w4g64"), progress=False).model
    assert divergence(tuned, old, tokens).kl_mean > 2 * divergence(tuned, new, tokens).kl_mean
    assert torch.equal(linears(old)[LOUD].weight, stored[LOUD].dequantize())


def test_what_cannot_be_reused_is_refused():
    weight = torch.randn(8, 128)
    with pytest.raises(QCourseError, match="integer grids"):
        on_grid_of(weight, quantize_codebook(weight))
    with pytest.raises(QCourseError, match="same layer"):
        on_grid_of(weight[:4], quantize_affine(weight, 4, 64))


def test_a_static_range_clips_a_louder_adapter_and_calibration_mends_it(louder, tokens):
    tuned = merge(tiny_llama(), louder)
    scales = input_scales(quantize(tiny_llama(), named("fp8-static"), tokens, progress=False))
    before, after = (clipped_share(model, tokens, scales) for model in (tiny_llama(), tuned))
    assert scales.keys() == before.keys() == set(linears(tuned))
    follower = "model.layers.0.mlp.down_proj"
    assert max(before.values()) < 1e-3 < after[follower] and after["model.layers.0.self_attn.q_proj"] < 1e-3
    anew = quantize(merge(tiny_llama(), louder), named("fp8-static"), tokens, progress=False)
    kl_anew = divergence(tuned, anew.model, tokens).kl_mean
    kl_old = divergence(tuned, use_input_scales(anew, scales).model, tokens).kl_mean
    assert kl_old > 2 * kl_anew
    assert all(torch.equal(anew.layers[name].input_scale, scale) for name, scale in scales.items())


def test_dynamic_recipes_have_no_scales_to_reuse():
    assert input_scales(quantize(tiny_llama(), named("fp8-dynamic"), progress=False)) == {}
