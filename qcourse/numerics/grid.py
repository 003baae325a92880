"""Evenly spaced levels: where a group's codes lie, which is nearest, and scales that files can hold."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from qcourse.numerics.checks import columns_of_a_group

PER_CHANNEL, PER_TENSOR = -1, 0


@dataclass(frozen=True)
class Grid:
    """2**bits evenly spaced levels for each group: a code stands for (code - zero_point) * scale.

    scale, zero_point: floating point, of one shape: a value a group, such as [out, n_groups].
    symmetric: the zero point is 2**(bits - 1) everywhere and files need not store it.
    """

    scale: Tensor
    zero_point: Tensor
    bits: int
    symmetric: bool

    @classmethod
    def spanning(
        cls,
        low: Tensor,
        high: Tensor,
        bits: int,
        symmetric: bool,
        convention: str = "full",
        storable: bool = True,
    ) -> "Grid":
        """Return the float32 grid that spans low..high; low <= 0 <= high.

        An empty range (all zeros) gets scale 1, so that its codes are the zero point.
        """
        if symmetric:
            scale = symmetric_scale(torch.maximum(-low, high), bits, convention)
        else:
            scale = (high - low) / (2**bits - 1)
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        scale = storable_scale(scale) if storable else scale
        if symmetric:
            return cls(scale, torch.full_like(scale, 2 ** (bits - 1)), bits, symmetric)
        return cls(scale, torch.round(-low / scale).clamp(0, 2**bits - 1), bits, symmetric)

    def __getitem__(self, index: Any) -> "Grid":
        """Return the grid of some groups; `grid[..., None]` is broadcast over the columns of each."""
        return replace(self, scale=self.scale[index], zero_point=self.zero_point[index])

    def __setitem__(self, index: Any, other: "Grid") -> None:
        """Write another grid's scales and zero points over those of some groups."""
        self.scale[index], self.zero_point[index] = other.scale, other.zero_point

    def codes(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the nearest codes 0 .. 2**bits - 1 in floating point, in `out` if given.

        A tie goes to the level an even number of steps from zero, as in GPTQ and AWQ. compressed-tensors
        adds the zero point before it rounds: its ties go to the even code, the other one where the zero
        point is odd.
        """
        levels = torch.div(values, self.scale, out=out).round_()
        return levels.add_(self.zero_point).clamp_(0, 2**self.bits - 1)

    def values(self, codes: Tensor) -> Tensor:
        """Return what codes, in floating point, stand for."""
        return (codes - self.zero_point) * self.scale

    def round(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the nearest values that codes stand for, in `out` if given."""
        return self.codes(values, out).sub_(self.zero_point).mul_(self.scale)


def split_groups(weight: Tensor, group_size: int) -> Tensor:
    """View [out, in] as [out, n_groups, columns of a group]; group size 0 gives [1, 1, out * in]."""
    if group_size == PER_TENSOR:
        return weight.reshape(1, 1, -1)
    return weight.reshape(weight.shape[0], -1, columns_of_a_group(weight.shape[1], group_size))


def range_of(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and greatest value over the last dimension, widened to include 0."""
    return groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)


def symmetric_scale(absmax: Tensor, bits: int, convention: str) -> Tensor:
    """Return the scale of a symmetric grid.

    "full": absmax / ((2**bits - 1) / 2), all 2**bits levels used, the largest positive value may be
    clipped by half a step (GPTQ, compressed-tensors; GPTQModel halves it for a group without negative
    values, which clips half of the range, and that is not followed). "restricted":
    absmax / (2**(bits-1) - 1), the textbook's and QQQ's, one level unused, nothing clipped.
    Raises ValueError for another convention.
    """
    if convention == "full":
        return absmax / ((2**bits - 1) / 2)
    if convention == "restricted":
        return absmax / (2 ** (bits - 1) - 1)
    raise ValueError(f"unknown convention {convention!r}; known are full, restricted")


def storable_scale(scale: Tensor) -> Tensor:
    """Round scales to values that float16 and bfloat16 both hold exactly; float32 in and out.

    bfloat16 has 8 significant bits, and float16 holds all of those from 2**-17 up to 65504;
    smaller ones are raised to 2**-17, larger ones refused with ValueError, so that neither
    reader sees another weight than the other. Only a scale of zero stays zero.
    """
    rounded = scale.float().to(torch.bfloat16).float()
    if rounded.numel() and rounded.abs().max() > 65280:
        raise ValueError(f"a scale of {float(rounded.abs().max()):.3g} does not fit in float16 (limit 65504)")
    return scale.float().sign() * rounded.abs().clamp(min=2.0**-17)
