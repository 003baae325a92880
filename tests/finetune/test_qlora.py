"""Adapters on quantized bases: what is trained, what is not, and where gradients flow."""

import copy
import inspect
from types import SimpleNamespace

import pytest
import torch

from qcourse.common import QCourseError
from qcourse.finetune import (
    QuantizedLinear,
    add_adapters,
    answer_loss,
    deltas,
    dequantized_base,
    fit,
    freeze,
    merge,
    quantize_base,
)
from qcourse.finetune.optimizer import make_optimizer
from qcourse.models import linears
from qcourse.numerics.affine import quantize_affine
from qcourse.numerics.codebook import quantize_codebook
from qcourse.quantize import quantize
from qcourse.recipe import named
from tests.finetune.tiny_llama import tiny_llama


@pytest.fixture(params=["own", "bitsandbytes"])
def backend(request):
    """Run a test with our NF4 and with bitsandbytes'."""
    if request.param == "bitsandbytes":
        from tests.engines import require

        require("bitsandbytes")
    return request.param


def test_adapters_start_as_the_identity(backend, rows):
    base = quantize_base(tiny_llama(), backend).train()  # training mode: the CPU layer is not repacked
    ids = torch.tensor([rows[0].ids])
    before = base(input_ids=ids).logits
    after = add_adapters(base, rank=4).train()(input_ids=ids).logits
    assert torch.equal(before, after)


def test_only_adapters_learn(backend, rows):
    adapted = add_adapters(quantize_base(tiny_llama(), backend), rank=4)
    frozen = {n: p.detach().clone() for n, p in adapted.named_parameters() if not p.requires_grad}
    log = fit(adapted, rows, steps=40, batch_size=16, learning_rate=1e-2, progress=False)
    assert sum(log.losses[-5:]) < 0.9 * sum(log.losses[:5])
    assert log.trainable_parameters == sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    for name, parameter in adapted.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name


def test_the_base_is_equal_in_both_backends():
    """Equal to the bit; with double quantization nearly: bitsandbytes' CPU code looks its 8-bit step up."""
    from tests.engines import require

    require("bitsandbytes")
    for double, allowed in ((False, 0.0), (True, 0.02)):
        ours, theirs = (
            dequantized_base(quantize_base(tiny_llama(), which, double)) for which in ("own", "bitsandbytes")
        )
        assert ours.keys() == theirs.keys() == set(linears(tiny_llama()))
        different = sum(int((ours[name] != theirs[name]).sum()) for name in ours)
        assert different <= allowed * sum(weight.numel() for weight in ours.values())


def test_same_seed_same_adapter(rows):
    runs = []
    for seed in (0, 0, 1):
        adapted = add_adapters(quantize_base(tiny_llama(), "own"), rank=2, seed=seed)
        runs.append(fit(adapted, rows, steps=4, batch_size=8, seed=seed, progress=False).losses)
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    "quantizer",
    [
        lambda w: quantize_affine(w, 4, 64),
        lambda w: quantize_affine(w, 8, -1, symmetric=False),
        lambda w: quantize_codebook(w),
    ],
    ids=["int4", "int8", "nf4"],
)
def test_gradients_flow_through_every_format(model, rows, quantizer):
    """The gradient through codes is that of the dense dequantized layer: NF4 has no privilege."""
    layers = {name: quantizer(linear.weight.detach()) for name, linear in linears(model).items()}
    dense = copy.deepcopy(model)
    for name, quantized in layers.items():
        dense.get_submodule(name).weight.data = quantized.dequantize()
    gradients = []
    for candidate in (freeze(copy.deepcopy(model), layers), dense.requires_grad_(False)):
        adapted = add_adapters(candidate, rank=2).train()
        adapted(input_ids=torch.tensor([rows[0].ids])).logits.logsumexp(-1).sum().backward()
        gradients.append({n: p.grad for n, p in adapted.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-5)
    assert any(gradient.abs().max() > 0 for gradient in gradients[0].values())


def test_adapters_learn_on_a_gptq_base_and_merge_into_it(rows, tokens):
    """The base is what GPTQ stored; merged into its dequantized weights, the adapter computes the same."""
    done = quantize(tiny_llama(), named("gptq-w4g64"), tokens, progress=False)
    base = freeze(tiny_llama(), done.layers)
    weights = dequantized_base(base)
    assert all(torch.equal(weights[name], layer.dequantize()) for name, layer in done.layers.items())
    adapted = add_adapters(base, rank=8)
    log = fit(adapted, rows, steps=80, batch_size=16, learning_rate=1e-2, progress=False)
    assert sum(log.losses[-5:]) < 0.9 * sum(log.losses[:5])
    assert all(torch.equal(weights[name], now) for name, now in dequantized_base(adapted).items())
    ids, merged = torch.tensor([rows[0].ids]), merge(tiny_llama(), deltas(adapted), weights)
    unmerged = adapted(input_ids=ids).logits
    torch.testing.assert_close(merged(input_ids=ids).logits, unmerged, rtol=1e-4, atol=1e-4)


def test_biases_are_kept():
    linear = torch.nn.Linear(64, 32)
    quantized = quantize_codebook(linear.weight.detach())
    layer, x = QuantizedLinear(quantized, linear.bias), torch.randn(3, 64)
    torch.testing.assert_close(layer(x), x @ quantized.dequantize().T + linear.bias)
    assert not any(p.requires_grad for p in layer.parameters())


def test_eight_bit_optimizer_learns_with_smaller_state(rows):
    from tests.engines import require

    require("bitsandbytes")
    logs = {}
    for name in ("adamw", "adamw8bit", "adamw8bit-own"):
        adapted = add_adapters(quantize_base(tiny_llama(), "own"), rank=32)  # 4,096 values each
        logs[name] = fit(
            adapted, rows, steps=25, batch_size=16, learning_rate=5e-3, optimizer=name, progress=False
        )
        assert logs[name].losses[-1] < logs[name].losses[0]
    for name in ("adamw8bit", "adamw8bit-own"):
        assert logs[name].optimizer_bytes < 0.5 * logs["adamw"].optimizer_bytes


def test_paging_needs_cuda(rows):
    adapted = add_adapters(tiny_llama(), rank=2)
    sentence = "needs CUDA, and parameters are on cpu; use optimizer='adamw8bit', or 'adamw8bit-own' without"
    with pytest.raises(QCourseError, match=sentence):
        fit(adapted, rows, steps=1, optimizer="adamw8bit-paged", progress=False)


def test_on_cuda_the_paged_optimizer_is_made(monkeypatch):
    from tests.engines import require

    require("bitsandbytes")
    import bitsandbytes

    made = []
    for name in ("AdamW8bit", "PagedAdamW8bit"):
        original = getattr(bitsandbytes.optim, name)
        assert {"lr", "weight_decay"} <= inspect.signature(original).parameters.keys()
        record = lambda *args, name=name, **given: made.append((name, args, given))  # noqa: E731
        monkeypatch.setattr(bitsandbytes.optim, name, record)
    there = [SimpleNamespace(device=torch.device("cuda", 0)) for _ in range(2)]
    make_optimizer(there, "adamw8bit-paged", 3e-4)
    assert made == [("PagedAdamW8bit", (there,), {"lr": 3e-4, "weight_decay": 0.0})]
    here = SimpleNamespace(device=torch.device("cpu"))
    with pytest.raises(QCourseError, match="parameters are on cpu"):  # one of them is enough
        make_optimizer([*there, here], "adamw8bit-paged", 3e-4)
    make_optimizer([here], "adamw8bit", 3e-4)
    assert [name for name, _, _ in made] == ["PagedAdamW8bit", "AdamW8bit"]


def test_clear_errors(model, rows):
    with pytest.raises(QCourseError, match="no parameter requires a gradient"):
        fit(model.requires_grad_(False), rows, steps=1, progress=False)
    with pytest.raises(QCourseError, match="unknown NF4 backend"):
        quantize_base(model, "cuda")
    adapted = add_adapters(model, rank=2)
    with pytest.raises(QCourseError, match="unknown optimizer 'sgd9'; known: .*, adamw8bit-paged$"):
        fit(adapted, rows, steps=1, optimizer="sgd9", progress=False)
    with pytest.raises(QCourseError, match="no rows"):
        fit(adapted, [], steps=1, progress=False)


def test_answer_loss_falls_on_unseen_pairs(tokenizer, rows):
    from qcourse.finetune import encode
    from qcourse.skills import units

    unseen = encode(tokenizer, units.items("eval", 32))
    adapted = add_adapters(quantize_base(tiny_llama(), "own"), rank=8)
    before = answer_loss(adapted, unseen)
    fit(adapted, rows, steps=40, batch_size=16, learning_rate=1e-2, progress=False)
    assert answer_loss(adapted, unseen) < 0.8 * before
