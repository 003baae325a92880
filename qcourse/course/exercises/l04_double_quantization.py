"""Exercise 04.double_quantization: the scales are numbers too, and can be rounded."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (absmax [n], block_size): positive block maxima, n a multiple of block_size; no ties."""
    draw = torch.Generator().manual_seed(41)
    return [
        (torch.tensor([0.11, 0.14, 0.13, 0.19]), 2),
        (0.05 + 0.02 * torch.rand(64, generator=draw), 16),
        (0.05 + 0.2 * torch.rand(32, generator=draw) ** 4, 8),
    ]


def stored(absmax: Tensor, size: int, mean: bool = True, back: bool = True, of_block: bool = False) -> Tensor:
    """Take off the mean, round each block to 127 steps of its own largest magnitude, and undo both."""
    blocks = absmax.double().reshape(-1, size)
    offset = absmax.double().mean() if mean else torch.tensor(0.0)
    offset = blocks.mean(1, keepdim=True) if of_block else offset
    step = (blocks - offset).abs().amax(1, keepdim=True) / 127
    return (((blocks - offset) / step).round() * step + (offset if back else 0)).flatten()


def no_mean(absmax: Tensor, size: int) -> Tensor:
    """Maxima are all positive: without taking off their mean, half of the codes are never used."""
    return stored(absmax, size, mean=False)


def mean_not_added(absmax: Tensor, size: int) -> Tensor:
    """Add the mean again at the end: it is stored."""
    return stored(absmax, size, back=False)


def one_block(absmax: Tensor, size: int) -> Tensor:
    """Each block of block_size maxima has its own step; one outlier should not coarsen all."""
    return stored(absmax, len(absmax))


def mean_of_each_block(absmax: Tensor, size: int) -> Tensor:
    """One mean is stored for all maxima, not one a block."""
    return stored(absmax, size, of_block=True)


def nothing(absmax: Tensor, size: int) -> Tensor:
    """Nothing is rounded: these are still 32-bit maxima."""
    return absmax


EXERCISE = Exercise(
    cases, stored, (no_mean, mean_not_added, one_block, mean_of_each_block, nothing),
    praise="8 bits a scale instead of 32: from 0.5 to 0.127 bits a weight in blocks of 64.", tolerance=1e-6
)  # fmt: skip
