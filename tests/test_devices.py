"""Every format and recipe on tensors that live elsewhere than in CPU memory, as on a GPU."""

from functools import partial

import pytest
import torch

from qcourse import export
from qcourse.calibrate import importance_matrix
from qcourse.methods import gptq
from qcourse.numerics import affine, codebook, fp4, fp8, llamacpp, packing
from qcourse.quantize import quantize, sensitivities
from qcourse.recipe import named
from tests.pretended_device import Elsewhere, MixedDevices, move, pretended_device

WEIGHT = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
FORMATS = {
    "affine": partial(affine.quantize_affine, bits=4, symmetric=False, search=True),
    "nf4": partial(codebook.quantize_codebook, kind="nf4"),
    "fp4": partial(codebook.quantize_codebook, kind="fp4", double_quantization=False),
    "mxfp4": fp4.quantize_mxfp4,
    "nvfp4": fp4.quantize_nvfp4,
    "fp8": partial(fp8.quantize_fp8, granularity="block"),
}
RECIPES = ("rtn-w4g128", "gptq-w4g128", "gptq-w3g128-act", "gptq-w4g128-aware", "gptaq-w4g128",
           "awq-w4g128", "awq+gptq-w3g128", "rotation+rtn-w4g128", "smoothquant+w8a8-int8",
           "w8a8-int8-static", "fp8-static", "fp8-block", "llm-int8", "nf4", "mxfp4", "nvfp4")  # fmt: skip
FILES = (("gptq", "gptq-w4g128-act"), ("gptq_v2", "rtn-w4g128-asym"), ("awq", "awq-w4g128"),
         ("compressed-tensors", "rtn-w3g128"), ("compressed-tensors", "fp8-static"),
         ("compressed-tensors", "nvfp4"), ("bitsandbytes", "nf4"), ("bitsandbytes", "llm-int8"),
         ("merged", "rtn-w4g128"))  # fmt: skip


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with pretended_device():
        there, here = torch.ones(4, 8, device="meta"), torch.ones(8)
        assert float((there + 1).sum()) == 64 and isinstance(there[:, torch.arange(8)], Elsewhere)
        for mixed in (lambda: there + here, lambda: there @ here, lambda: here[there.long()[0]]):
            with pytest.raises(MixedDevices):
                mixed()
        with pytest.raises(TypeError):
            there.numpy()
        assert torch.equal(there[0].cpu(), here)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_of_layers(name):
    expected = FORMATS[name](WEIGHT)
    with pretended_device():
        found = FORMATS[name](Elsewhere(WEIGHT.clone()))
        dense = found.dequantize()
    assert torch.equal(found.codes.held.view(torch.uint8), expected.codes.view(torch.uint8))
    assert torch.equal(dense.held, expected.dequantize())


@pytest.mark.parametrize("name", llamacpp.FORMATS)
def test_block_formats_of_llama_cpp(name):
    importance = torch.rand(256)
    expected = llamacpp.quantize(WEIGHT, name, importance)
    with pretended_device():
        found = llamacpp.quantize(Elsewhere(WEIGHT.clone()), name, Elsewhere(importance))
        dense = llamacpp.dequantize(found, name)
    assert torch.equal(found.held, expected)
    assert torch.equal(dense.held, llamacpp.dequantize(expected, name))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_packing(bits):
    codes = torch.randint(2**bits, (64, 256), dtype=torch.uint8)
    with pretended_device():
        packed = packing.pack_gptq(Elsewhere(codes), bits)
        assert torch.equal(packing.unpack_gptq(packed, bits).held, codes)
    assert torch.equal(packed.held, packing.pack_gptq(codes, bits))


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_recipes(name, small_model, llama_gqa, small_tokens):
    recipe = named(name)
    tokens = small_tokens if recipe.needs_calibration else None
    here = quantize(small_model(llama_gqa), recipe, tokens, progress=False)
    base, model = small_model(llama_gqa), move(small_model(llama_gqa))
    with pretended_device():
        there = quantize(model, recipe, tokens, progress=False)
        found = there.model(input_ids=Elsewhere(small_tokens[:2])).logits.held
    for layer in there.layers.values():
        parts = (layer.codes, layer.scale, layer.zero_point, layer.g_idx)
        assert all(part is None or isinstance(part, Elsewhere) for part in parts)
    first = "model.layers.0.self_attn.q_proj"  # later ones read what another attention kernel gives
    assert torch.equal(there.layers[first].codes.held, here.layers[first].codes)
    exact, expected = (model(input_ids=small_tokens[:2]).logits for model in (base, here.model))
    assert (found - exact).norm() < 1.2 * (expected - exact).norm()


@pytest.mark.parametrize("act_order", ["static", "full"])
def test_the_page_of_gptq(act_order):
    inputs = torch.randn(512, 256, generator=torch.Generator().manual_seed(1))
    hessian = inputs.T @ inputs / 512
    expected = gptq.quantize_layer(WEIGHT, hessian=hessian, act_order=act_order)
    with pretended_device():
        found = gptq.quantize_layer(
            Elsewhere(WEIGHT.clone()), hessian=Elsewhere(hessian.clone()), act_order=act_order
        )
    assert torch.equal(found.codes.held, expected.codes)


@pytest.mark.parametrize("form, name", FILES)
def test_files(form, name, small_model, llama_gqa, small_tokens, tmp_path):
    model, recipe = move(small_model(llama_gqa)), named(name)
    with pretended_device():
        result = quantize(model, recipe, small_tokens if recipe.needs_calibration else None, progress=False)
        folder = export.save(result.layers, result.model, None, tmp_path / "artefact", form, recipe)
        dense = {key: layer.dequantize().held for key, layer in result.layers.items()}
    read = export.read(folder)
    assert all(torch.equal(read[f"{key}.weight"], value) for key, value in dense.items())


def test_measures_of_layers(small_model, llama_gqa, small_tokens):
    model = move(small_model(llama_gqa))
    with pretended_device():
        assert len(importance_matrix(model, small_tokens[:2])) == 14
        assert len(sensitivities(model, named("gptq-w4g128"), small_tokens[:2], (3, 4), progress=False)) == 8
