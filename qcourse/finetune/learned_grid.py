"""A weight that is rounded in every forward pass, on a grid whose scales are trained with it."""

import torch
from torch import Tensor, nn

from qcourse.numerics.grid import split_groups, storable_scale
from qcourse.numerics.types import QuantizedWeight


class LearnedGrid(nn.Module):
    """The parametrization weight -> rounded weight, whose scales [out, n_groups] are trained too.

    The gradient of rounding is taken as one, so that a scale gets the gradient of
    learned step size quantization (Esser et al. 2020, arXiv 1902.08153, equation 3).
    """

    def __init__(self, start: QuantizedWeight) -> None:
        super().__init__()
        self.start = start
        self.scale = nn.Parameter(start.scale.clone())

    def stored_scale(self) -> Tensor:
        """Return the scales as a file will hold them; the gradient passes through."""
        return self.scale + (storable_scale(self.scale) - self.scale).detach()

    def levels(self, weight: Tensor) -> Tensor:
        """Return codes 0 .. 2**bits - 1 as float32 [out, n_groups, group], differentiable."""
        steps = split_groups(weight, self.start.group_size) / self.stored_scale()[..., None]
        rounded = steps + (steps.round() - steps).detach() + self.start.zero_point[..., None]
        return rounded.clamp(0, 2**self.start.bits - 1)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight [out, in] that the codes and scales stand for."""
        values = (self.levels(weight) - self.start.zero_point[..., None]) * self.stored_scale()[..., None]
        return values.reshape(weight.shape)

    def stored(self, weight: Tensor) -> QuantizedWeight:
        """Return codes and scales as they are written to a file."""
        codes = self.levels(weight).to(torch.uint8).reshape(weight.shape)
        start = self.start
        scale = self.stored_scale().detach()
        grid = start.bits, start.group_size
        return QuantizedWeight(codes, scale, start.zero_point, *grid, symmetric=start.symmetric)
