"""Quantization-aware training: straight-through gradients, and a result that is stored exactly."""

import torch

from qcourse.finetune import answer_loss, finish_qat, fit, prepare_qat
from qcourse.models import linears
from qcourse.numerics.affine import quantize_affine
from tests.finetune.tiny_llama import tiny_llama


def test_forward_is_rounded_and_backward_is_identity():
    model = prepare_qat(tiny_llama(), bits=3, group_size=64)
    linear = linears(model)["model.layers.0.mlp.down_proj"]
    latent = linear.parametrizations.weight.original
    plain = quantize_affine(latent.detach(), 3, 64).dequantize()
    torch.testing.assert_close(linear.weight.detach(), plain)
    factor = torch.randn_like(latent)
    (linear.weight * factor).sum().backward()
    torch.testing.assert_close(latent.grad, factor)


def test_training_beats_rounding_the_same_weights(rows):
    """After the same steps, weights trained under rounding lose less by it than weights that were not."""

    def trained(aware: bool):
        model = tiny_llama()
        if aware:
            prepare_qat(model, bits=2, group_size=64)
        else:
            model.requires_grad_(False)
            for linear in linears(model).values():
                linear.weight.requires_grad_(True)
        fit(model, rows, steps=60, batch_size=16, learning_rate=2e-3, progress=False)
        return model

    aware, blind = trained(True), trained(False)
    before = answer_loss(aware, rows)
    stored = finish_qat(aware)
    assert abs(answer_loss(aware, rows) - before) < 1e-5  # what is stored computes what was trained
    for linear in linears(blind).values():
        rounded = quantize_affine(linear.weight.detach(), 2, 64)
        linear.weight.data = rounded.dequantize()
    assert answer_loss(aware, rows) < answer_loss(blind, rows)
    assert all(layer.bits == 2 and int(layer.codes.max()) <= 3 for layer in stored.values())


def test_other_parameters_stay_frozen():
    model = prepare_qat(tiny_llama(), bits=4, group_size=64)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {f"{name}.parametrizations.weight.original" for name in linears(model)}
