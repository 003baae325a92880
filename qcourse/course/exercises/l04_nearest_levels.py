"""Exercise 04.nearest_levels: codes and absmax of one block under a code book."""

from collections.abc import Callable

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips

LEVELS = torch.tensor([
    -1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0,
    0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0,
])  # fmt: skip


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


Pick = Callable[[Tensor, Tensor], Tensor]


def nearest(scaled: Tensor, levels: Tensor) -> Tensor:
    """Return the index of the nearest level of each number."""
    return (scaled[:, None] - levels).abs().argmin(1)


def scaled_by(scale: Callable[[Tensor], Tensor], pick: Pick = nearest) -> Callable:
    """Return the answer with another scale."""
    return lambda block, levels: (scale(block), pick(block / scale(block), levels))


def picked(pick: Pick) -> Callable:
    """Return the answer with something else than the nearest level: pick(scaled block, levels)."""
    return scaled_by(absmax, pick)


def absmax(block: Tensor) -> Tensor:
    """Return the largest magnitude."""
    return block.abs().max()


WRONG = (
    *slips("Divide by the largest magnitude: a block whose extreme weight is negative is scaled by it too.",
           signed_maximum=scaled_by(torch.max)),
    *slips("The code book ends at -1 and 1, so the block must end there as well: divide by its absmax. The "
           "normal distribution decides where the levels lie, not the scale.",
           by_deviation=scaled_by(torch.std), by_norm=scaled_by(torch.linalg.vector_norm),
           by_range=scaled_by(lambda block: block.max() - block.min()),
               by_sum=scaled_by(lambda block: block.abs().sum()),
               by_mean=scaled_by(lambda block: block.abs().mean())),
    *slips("absmax is a magnitude: keep it positive where the extreme weight is negative.",
           signed_extreme=scaled_by(lambda block: block[block.abs().argmax()])),
    *slips("Those are the levels of an integer format. NF4's levels are uneven: compare with each of them.",
           even_steps=picked(lambda scaled, levels: ((scaled + 1) / 2 * (len(levels) - 1)).round()),
           integers=picked(lambda scaled, levels: (scaled * 7).round() + 7),
           integers_from_8=picked(lambda scaled, levels: (scaled * 7).round() + 8)),
    *slips("Divide the block by its absmax before you look for the nearest level.",
           unscaled=lambda block, levels: (absmax(block), nearest(block, levels)),
           multiplied=lambda block, levels: (absmax(block), nearest(block * absmax(block), levels))),
    *slips("A distance is a magnitude: without abs() the lowest difference is that to the last level.",
           signed_distance=picked(lambda scaled, levels: (scaled[:, None] - levels).argmin(1))),
    *slips("That is the level farthest away: argmin, not argmax.",
           farthest=picked(lambda scaled, levels: (scaled[:, None] - levels).abs().argmax(1))),
    *slips("The smallest distance of each weight is asked: argmin over the levels, axis 1.",
           of_each_level=picked(lambda scaled, levels: (scaled[:, None] - levels).abs().argmin(0)),
           of_all=picked(lambda scaled, levels: (scaled[:, None] - levels).abs().argmin())),
    *slips("Asked is the number of the level, not the level, the weight or the distance.",
           levels=picked(lambda scaled, levels: levels[nearest(scaled, levels)]),
           weights=lambda block, levels: (absmax(block), levels[nearest(block / absmax(block),
               levels)] * absmax(block)),
           distances=picked(lambda scaled, levels: (scaled[:, None] - levels).abs().amin(1))),
    *slips("searchsorted finds the next level on one side; the nearest may be the other. Compare distances.",
           next_above=picked(lambda scaled, levels: torch.searchsorted(levels, scaled)),
           next_below=picked(lambda scaled, levels: torch.searchsorted(levels, scaled, right=True) - 1)),
    *slips("The code of a negative weight is that of a negative level: take magnitudes for the scale only.",
           magnitudes=picked(lambda scaled, levels: nearest(scaled.abs(), levels))),
    *slips("Return the largest magnitude itself, not its place in the block.",
           place_of_the_largest=lambda block, levels: (block.abs().argmax(), reference(block, levels)[1])),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="A block becomes one absmax and the index of the nearest level for each weight: that is all of "
    "NF4."
)  # fmt: skip
