"""Learned rounding: its objective against rounding's, how far codes may move, files, and what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from qcourse import export
from qcourse.measure import paired_bootstrap
from qcourse.methods import rtn, signround
from qcourse.methods.signround import slope
from qcourse.numerics import quantize_affine
from qcourse.quantize import quantize
from qcourse.recipe import named
from tests.methods.test_gptq import layer, output_error


def row_errors(quantized, weight, hessian) -> np.ndarray:
    """The output error of each row."""
    change = (quantized.dequantize() - weight).double()
    return ((change @ hessian.double()) * change).sum(1).numpy()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [32, 128, -1])
@pytest.mark.parametrize("symmetric", [True, False])
def test_it_beats_rounding_on_its_objective_beyond_chance(bits, group_size, symmetric):
    """The interval over rows of the ratio of errors lies below one, and no row became worse."""
    weight, hessian = layer()
    settings = dict(bits=bits, group_size=group_size, symmetric=symmetric)
    ours = signround.quantize_layer(weight, **settings, hessian=hessian, search=False)
    plain = rtn.quantize_layer(weight, **settings)
    assert torch.equal(ours.scale, plain.scale)
    errors = [row_errors(each, weight, hessian) for each in (ours, plain)]
    assert paired_bootstrap(*errors, "ratio").high < 0.95
    assert (errors[0] <= errors[1] * (1 + 1e-5)).all()


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("bits", [2, 4])
def test_codes_are_within_one_step_of_rounding_s(bits, search):
    weight, hessian = layer()
    ours = signround.quantize_layer(weight, bits=bits, hessian=hessian, search=search)
    plain = rtn.quantize_layer(weight, bits=bits, hessian=hessian if search else None, search=search)
    apart = (ours.codes.int() - plain.codes.int()).abs()
    assert torch.equal(ours.scale, plain.scale) and apart.max() == 1 and int(ours.codes.max()) < 2**bits


def test_no_steps_and_independent_inputs_give_the_codes_of_rounding():
    """Where H is the identity each weight's best code is the nearest: there is nothing to learn."""
    weight, hessian = layer()
    plain = rtn.quantize_layer(weight, bits=3).codes
    none = signround.quantize_layer(weight, bits=3, hessian=hessian, steps=0, search=False)
    alone = signround.quantize_layer(weight, bits=3, hessian=torch.eye(256), search=False)
    assert torch.equal(none.codes, plain) and torch.equal(alone.codes, plain)


def test_more_steps_lower_the_error():
    weight, hessian = layer()
    errors = [
        output_error(signround.quantize_layer(weight, bits=3, hessian=hessian, steps=steps), weight, hessian)
        for steps in (0, 10, 200)
    ]
    assert errors[2] < 0.97 * errors[1] < 0.97 * 0.97 * errors[0]


def test_the_slope_is_autograd_s():
    weight, hessian = layer(8, 64)
    change = (quantize_affine(weight, 3, 32).dequantize() - weight).requires_grad_()
    gradient, error = slope(change.detach().unflatten(1, (2, 32)), hessian)
    whole = ((change @ hessian) * change).sum()
    whole.backward()
    torch.testing.assert_close(2 * gradient.flatten(1), change.grad)
    torch.testing.assert_close(error.sum(), whole.detach())


def test_the_best_codes_of_few_weights_are_nearly_found():
    """Four columns: all 16 choices of up or down are tried; learned rounding comes close to the best."""
    draw = torch.Generator().manual_seed(2)
    inputs = torch.randn(64, 4, generator=draw) + 2 * torch.randn(64, 1, generator=draw)
    weight, hessian = torch.randn(32, 4, generator=draw), inputs.T @ inputs / 64
    plain = quantize_affine(weight, 4, -1)
    low = (weight / plain.scale).floor()
    ups = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    choices = [((low + up).clamp(-8, 7) * plain.scale - weight).double() for up in ups]
    best = torch.stack([((each @ hessian.double()) * each).sum(1) for each in choices]).amin(0).sum()
    ours = row_errors(signround.quantize_layer(weight, group_size=-1, hessian=hessian, search=False),
                      weight, hessian).sum()  # fmt: skip
    rounded = row_errors(plain, weight, hessian).sum()
    assert ours - best < 0.2 * (rounded - best)


@pytest.mark.parametrize("form", ["gptq", "compressed-tensors"])
def test_the_file_differs_from_gptq_s_in_values_only(form, small_model, llama_gqa, small_tokens, tmp_path):
    layouts = []
    for name in ("gptq", "signround"):
        made = quantize(small_model(llama_gqa), named(f"{name}-w4g64"), small_tokens[:4], progress=False)
        folder = export.save(made.layers, made.model, None, tmp_path / name, form, made.recipe, made.manifest)
        with safe_open(folder / "model.safetensors", "pt") as file:
            parts = {key: file.get_slice(key) for key in file.keys()}
            shapes = {key: (part.get_shape(), part.get_dtype()) for key, part in parts.items()}
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        layouts.append((shapes, {key: value for key, value in config.items() if key != "damp_percent"}))
        read = export.read_layers(folder)
        assert all(torch.equal(read[key].dequantize(), made.layers[key].dequantize()) for key in made.layers)
    assert layouts[0] == layouts[1]


def test_bad_input_is_named():
    weight, hessian = layer()
    with pytest.raises(ValueError, match="group size 100 does not divide 256"):
        signround.quantize_layer(weight, group_size=100, hessian=hessian)
    hessian[3, 3] = float("nan")
    with pytest.raises(ValueError, match="1 .*NaN"):
        signround.quantize_layer(weight, hessian=hessian)
