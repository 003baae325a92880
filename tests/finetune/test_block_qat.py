"""Training block by block under rounding: lower divergence than GPTQ and rounding, stored exactly."""

import copy

import pytest
import torch

from qcourse.common import QCourseError
from qcourse.finetune import block_qat, finish_qat, prepare_qat
from qcourse.finetune.learned_grid import LearnedGrid
from qcourse.measure import divergence
from qcourse.models import linears
from qcourse.numerics.affine import quantize_affine
from qcourse.quantize import quantize
from qcourse.recipe import named
from tests.finetune.tiny_llama import tiny_llama

IDS = torch.arange(32).view(2, 16)


@pytest.fixture(scope="module")
def windows():
    """Return calibration and evaluation tokens of one skewed distribution, int64 [32, 32] each."""
    draw = torch.Generator().manual_seed(3)
    weights = 1 / torch.arange(1.0, 401)
    return torch.multinomial(weights, 2 * 32 * 32, True, generator=draw).view(2, 32, 32)


def test_it_lowers_divergence_against_gptq_and_rounding_at_2_bits(windows):
    original = tiny_llama()
    kl = {}
    for name in ("rtn", "gptq"):
        done = quantize(tiny_llama(), named(f"{name}-w2g64-asym"), windows[0], progress=False)
        kl[name] = divergence(original, done.model, windows[1]).kl_mean
    model = tiny_llama()
    stored = block_qat(model, windows[0], 2, 64, steps=120, weight_rate=0.02, scale_rate=0.01, progress=False)
    kl["trained"] = divergence(original, model, windows[1]).kl_mean
    print(kl)
    assert kl["trained"] < 0.9 * kl["gptq"] < kl["rtn"]
    assert stored.keys() == set(linears(original))
    for name, linear in linears(model).items():
        assert torch.equal(linear.weight, stored[name].dequantize())
        assert not linear.weight.requires_grad and int(stored[name].codes.max()) <= 3
    start = {
        name: quantize_affine(linear.weight, 2, 64, False, search=True)
        for name, linear in linears(original).items()
    }
    assert not any(torch.equal(stored[name].scale, start[name].scale) for name in stored)  # trained, too


def test_gradients_of_weight_and_scale():
    """Inside the grid the weight's gradient is one; a scale's is the rounded level minus the exact one."""
    weight = torch.linspace(-1, 1, 64).repeat(2, 1).requires_grad_()
    grid = LearnedGrid(quantize_affine(weight.detach(), 3, 64))
    grid(weight).sum().backward()
    scale = grid.scale.detach()
    steps = weight.detach() / scale
    inside = (steps.round() >= -4) & (steps.round() <= 3)
    assert torch.equal(weight.grad, inside.float())
    expected = torch.where(inside, steps.round() - steps, steps.round().clamp(-4, 3)).sum(1)
    torch.testing.assert_close(grid.scale.grad[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_layers_after_are_trained_on_what_rounded_ones_give(windows):
    """The second layer's result depends on the first one's rounding."""
    model = tiny_llama()
    other = copy.deepcopy(model)
    weight = other.model.layers[0].mlp.down_proj.weight
    weight.data = quantize_affine(weight.data, 2, -1).dequantize()
    found = [block_qat(each, windows[0][:4], 2, 64, steps=2, progress=False) for each in (model, other)]
    name = "model.layers.1.mlp.down_proj"
    assert not torch.equal(found[0][name].codes, found[1][name].codes)


def test_the_artefact_is_an_ordinary_checkpoint(windows, tmp_path):
    from qcourse import export

    model = tiny_llama(torch.bfloat16)
    stored = block_qat(model, windows[0][:4], 4, 64, symmetric=True, steps=2, progress=False)
    export.save(stored, model, None, tmp_path / "gptq", "gptq")
    for name, layer in export.read_layers(tmp_path / "gptq").items():
        assert torch.equal(layer.dequantize(), stored[name].dequantize())
        assert torch.equal(linears(model)[name].weight, layer.dequantize().bfloat16())


def test_norms_of_queries_and_keys_stay_and_are_written(small_model, small_folders, small_tokens, tmp_path):
    from qcourse import export

    model, before = small_model(small_folders["qwen3"]), small_model(small_folders["qwen3"]).state_dict()
    stored = block_qat(model, small_tokens[:4], 4, 64, steps=1, progress=False)
    folder = export.save(stored, model, None, tmp_path / "block", "gptq")
    trained = finish_qat(prepare_qat(small_model(small_folders["qwen3"]), 4, 64))
    assert stored.keys() == trained.keys() == set(linears(model))
    written = export.read(folder)
    norms = [name for name in before if "_norm.weight" in name]
    assert len(norms) == 4 and all(torch.equal(written[name], before[name].float()) for name in norms)


@pytest.mark.parametrize("train", [prepare_qat, lambda model, *grid: block_qat(model, IDS, *grid)])
def test_what_cannot_be_trained_is_refused(train):
    for bits, group_size, words in ((1, 64, "no 1-bit form"), (4, 100, "group size 100 does not divide")):
        with pytest.raises(QCourseError, match=words):
            train(tiny_llama(), bits, group_size)
    damaged = tiny_llama()
    damaged.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(QCourseError, match="layers.1.mlp.up_proj.weight holds 1 values that are NaN"):
        train(damaged, 4, 64)


def test_tokens_that_are_none_or_foreign_are_refused():
    for tokens, words in ((IDS[:0], "got none"), (IDS + 10**6, "outside the vocabulary")):
        with pytest.raises(QCourseError, match=words):
            block_qat(tiny_llama(), tokens, 4, 64, progress=False)
