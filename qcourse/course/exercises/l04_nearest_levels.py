"""Exercise 04.nearest_levels: codes and absmax of one block under a code book."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise

LEVELS = torch.tensor(
    [
        -1.0,
        -0.6962,
        -0.5251,
        -0.3949,
        -0.2844,
        -0.1848,
        -0.0911,
        0.0,
        0.0796,
        0.1609,
        0.2461,
        0.3379,
        0.4407,
        0.5626,
        0.7230,
        1.0,
    ]
)


def cases() -> list[tuple]:
    """Return blocks whose largest magnitude is positive, negative, and an outlier, with a code book."""
    draw = torch.Generator().manual_seed(4)
    normal = torch.randn(64, generator=draw)
    return [
        (torch.tensor([0.5, -0.1, 0.02, 0.3]), LEVELS),
        (torch.tensor([0.1, -0.8, 0.33, -0.2]), LEVELS),
        (normal, LEVELS),
        (torch.cat([normal[:63] * 0.1, torch.tensor([-3.0])]), LEVELS),
    ]


def reference(block: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (absmax, codes), one value at a time: the level with the smallest distance."""
    absmax = max(abs(value) for value in block.tolist())
    codes = []
    for value in block.tolist():
        distances = [abs(level - value / absmax) for level in levels.tolist()]
        codes.append(distances.index(min(distances)))
    return torch.tensor(absmax), torch.tensor(codes)


def signed_maximum(block: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Divide by the largest magnitude: a block whose extreme weight is negative is scaled by it too."""
    scale = block.max()
    return scale, (block[:, None] / scale - levels).abs().argmin(1)


def by_deviation(block: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """The code book ends at -1 and 1, so the block must end there as well: divide by its absmax. The normal
    distribution decides where the levels lie, not the scale.
    """
    scale = block.std()
    return scale, (block[:, None] / scale - levels).abs().argmin(1)


def even_steps(block: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Those are the levels of an integer format. NF4's levels are uneven: compare with each of them."""
    scale = block.abs().max()
    return scale, ((block / scale + 1) / 2 * (len(levels) - 1)).round().long()


def unscaled(block: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Divide the block by its absmax before you look for the nearest level."""
    return block.abs().max(), (block[:, None] - levels).abs().argmin(1)


EXERCISE = Exercise(
    cases, reference, (signed_maximum, by_deviation, even_steps, unscaled),
    praise="A block becomes one absmax and the index of the nearest level for each weight: that is all of "
    "NF4."
)  # fmt: skip
