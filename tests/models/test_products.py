"""bf16 products on a CPU without bf16 units: the same numbers, by fp32."""

import copy
import inspect

import pytest
import torch

from qcourse.models import products


@pytest.fixture
def without_units(monkeypatch):
    monkeypatch.setattr(products, "has_bf16_products", lambda: False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(64, 96), (2, 40, 96), (1, 96)])
def test_the_product_is_the_exact_one_rounded_once(without_units, shape, bias):
    draw = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(96, 32, bias=bias).bfloat16()
    x = torch.randn(shape, generator=draw).bfloat16()
    found = products.linear(x, layer.weight, layer.bias)
    exact = x.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.double(), exact, rtol=2**-8, atol=1e-6)


def test_other_dtypes_and_single_rows_go_to_torch(without_units):
    x, w = torch.randn(64, 32), torch.randn(8, 32)
    assert torch.equal(products.linear(x, w), torch.nn.functional.linear(x, w))
    few = x[:1].bfloat16()
    assert torch.equal(products.linear(few, w.bfloat16()), torch.nn.functional.linear(few, w.bfloat16()))


def test_a_widened_model_has_the_same_tensors_and_gradients(without_units):
    model = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.Linear(48, 8)).bfloat16()
    plain, x = copy.deepcopy(model), torch.randn(64, 32).bfloat16()
    products.widen(model)
    assert all(isinstance(module, products.WideLinear) for module in model)
    assert list(model.state_dict()) == list(plain.state_dict())
    narrowed = products.narrow(copy.deepcopy(model))
    assert all(type(module) is torch.nn.Linear for module in narrowed)
    assert all(torch.equal(a, b) for a, b in zip(narrowed.parameters(), plain.parameters(), strict=True))
    for each in (model, plain):
        each(x).float().square().sum().backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours.grad.float(), theirs.grad.float(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("times", [torch.matmul, torch.Tensor.matmul, lambda a, b: a @ b])
def test_products_of_other_peoples_code_are_the_exact_ones_rounded_once(without_units, times):
    a, b = torch.randn(2, 3, 40, 96).bfloat16(), torch.randn(2, 3, 96, 24).bfloat16()
    with products.wide_products():
        found = times(a, b)
        assert times(a.float(), b.float()).dtype == torch.float32
        assert (a + a).dtype == torch.bfloat16
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, (a.float() @ b.float()).bfloat16())


def test_products_of_other_peoples_code_stay_as_they_are_where_there_are_units(monkeypatch):
    monkeypatch.setattr(products, "has_bf16_products", lambda: True)
    seen, a = [], torch.randn(8, 8).bfloat16()
    monkeypatch.setattr(torch.Tensor, "float", lambda self: seen.append(self))
    with products.wide_products():
        assert torch.equal(a @ a, torch.matmul(a, a))
    assert not seen


def test_bf16_is_multiplied_in_float32_without_units_only(without_units, monkeypatch):
    bf16 = torch.zeros(2, dtype=torch.bfloat16)
    assert products.product_dtype(bf16) == torch.float32
    monkeypatch.setattr(products, "has_bf16_products", lambda: True)
    assert products.product_dtype(bf16) == torch.bfloat16
    assert products.product_dtype(bf16.half()) == torch.float16


def test_nothing_changes_where_there_are_units(monkeypatch):
    monkeypatch.setattr(products, "has_bf16_products", lambda: True)
    model = torch.nn.Sequential(torch.nn.Linear(32, 48)).bfloat16()
    assert type(products.widen(model)[0]) is torch.nn.Linear


def test_a_wide_linear_is_called_as_any_other():
    """Libraries that wrap a forward pass its argument by the name in nn.Linear's signature."""
    assert (
        inspect.signature(products.WideLinear.forward).parameters.keys()
        == inspect.signature(torch.nn.Linear.forward).parameters.keys()
    )
