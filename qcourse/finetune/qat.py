"""Quantization-aware training by the straight-through estimator.

The forward pass sees rounded weights, the backward pass pretends that rounding
was the identity. Source: Bengio et al. 2013 (arXiv 1308.3432), section 4; for
quantization Jacob et al. 2018 (arXiv 1712.05877), section 3.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from qcourse.models import linears
from qcourse.numerics.affine import quantize_affine
from qcourse.numerics.types import QuantizedWeight
from qcourse.quantize.checks import check_model, check_recipe
from qcourse.recipe import Recipe


class QuantizationAware(nn.Module):
    """The parametrization weight -> weight rounded to the grid that its own values span."""

    def __init__(self, bits: int, group_size: int, symmetric: bool) -> None:
        super().__init__()
        self.bits, self.group_size, self.symmetric = bits, group_size, symmetric

    def quantize(self, weight: Tensor) -> QuantizedWeight:
        """Return the codes and scales of `weight` [out, in] as they will be stored."""
        return quantize_affine(weight.detach().float(), self.bits, self.group_size, self.symmetric)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the rounded weight; its gradient with respect to `weight` is one."""
        rounded = self.quantize(weight).dequantize().to(weight.dtype)
        return weight + (rounded - weight).detach()


def check_trainable(model: nn.Module, bits: int, group_size: int, symmetric: bool) -> None:
    """Raise QCourseError for a model or a grid that cannot be trained under rounding.

    An unsupported, damaged or already quantized model, bits outside 2 to 8, groups that do not divide.
    """
    recipe = Recipe("rtn", bits=bits, group_size=group_size, symmetric=symmetric)
    check_model(model)
    check_recipe(model, recipe)


def prepare_qat(model: nn.Module, bits: int, group_size: int, symmetric: bool = True) -> nn.Module:
    """Make every decoder linear compute with rounded weights, in place; only those weights are trainable.

    Latent weights become float32: at a learning rate of 1e-4 a bf16 weight
    would not move, since bf16 keeps 8 bits of it. Raises QCourseError as `check_trainable` does.
    """
    check_trainable(model, bits, group_size, symmetric)
    model.requires_grad_(False)
    for linear in linears(model).values():
        dtype = linear.weight.dtype
        linear.weight = nn.Parameter(linear.weight.detach().float())
        rounding = nn.Sequential(QuantizationAware(bits, group_size, symmetric), Cast(dtype))
        parametrize.register_parametrization(linear, "weight", rounding, unsafe=True)  # it changes the dtype
    return model


class Cast(nn.Module):
    """Return the weight in the dtype that the layer computes in."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, weight: Tensor) -> Tensor:
        """Return weight in the layer's dtype."""
        return weight.to(self.dtype)


@torch.no_grad()
def finish_qat(model: nn.Module) -> dict[str, QuantizedWeight]:
    """Replace latent weights by their rounded values, in place; return what is stored, by linear name.

    The result goes to qcourse.export.save like that of any method.
    """
    stored = {}
    for name, linear in linears(model).items():
        rounding, cast = linear.parametrizations.weight[0]
        stored[name] = rounding.quantize(linear.parametrizations.weight.original)
        parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
        linear.weight = nn.Parameter(cast(stored[name].dequantize()), requires_grad=False)
    return stored
