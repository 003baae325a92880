"""A method is added by its file in qcourse/methods and its line in the vocabulary, and nothing else."""

import sys
from types import ModuleType

import pytest
import torch

from qcourse import recipe
from qcourse.common import QCourseError
from qcourse.numerics import QuantizedWeight
from qcourse.quantize import quantize
from qcourse.recipe.vocabulary import METHODS, Method


def signs(weight: torch.Tensor, *, threshold: float) -> QuantizedWeight:
    """Keep the sign of each weight and a scale a row; asks for one of the recipe's settings."""
    assert threshold == 2.5
    scale = weight.float().abs().mean(1, keepdim=True)
    codes = torch.where(weight < 0, 0, 2).to(torch.uint8)
    return QuantizedWeight(codes, scale, torch.ones_like(scale, dtype=torch.int32), 2, -1)


@pytest.fixture
def toy(monkeypatch):
    page = ModuleType("qcourse.methods.signs")
    page.quantize_layer = signs
    monkeypatch.setitem(sys.modules, "qcourse.methods.signs", page)
    monkeypatch.setitem(METHODS, "signs", Method((2,), -1, page="signs"))


def test_a_new_method_quantizes_a_model(toy, small_model, llama_gqa):
    chosen = recipe.Recipe("signs", bits=2, group_size=-1, threshold=2.5)
    model = small_model(llama_gqa)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = quantize(model, chosen, progress=False)
    name, layer = next(iter(made.layers.items()))
    weight = before[f"{name}.weight"].float()
    wanted = torch.where(weight < 0, -1.0, 1.0) * weight.abs().mean(1, keepdim=True)
    assert torch.allclose(layer.dequantize(), wanted)
    assert recipe.named("signs").method == "signs" and recipe.named("signs").name == "signs"


def test_without_its_line_it_is_unknown():
    with pytest.raises(QCourseError, match="unknown method 'signs'; known are rtn, gptq"):
        recipe.Recipe("signs")
