"""Exercise 08.mxfp4_block: four-bit floats under a scale that is a power of two."""

from functools import partial
from math import floor, log2

import torch
from torch import Tensor

from qcourse.course.check import Exercise, Misconception

LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def cases() -> list[tuple]:
    """Return blocks of 32 whose largest magnitude lies in the lower half of its binade; no ties."""
    draw = torch.Generator().manual_seed(83)
    found = []
    for top in (4.6, -0.071, 150.0, 1.3):
        block = torch.randn(32, generator=draw).clamp(-2, 2) * abs(top) / 2.5
        block[9] = top
        found.append((block,))
    return found


def block_values(
    block: Tensor, power: str = "floor", largest: float = 2.0, levels: tuple = LEVELS
) -> tuple[float, Tensor]:
    """Return the scale, 2**(exponent of absmax - 2), and the block on the levels of E2M1 under it."""
    top = max(abs(value) for value in block.tolist())
    scale = {"floor": 2.0 ** (floor(log2(top)) - largest), "exact": top / 6}[power]
    sizes = torch.tensor(levels, dtype=torch.float64) * scale
    nearest = sizes[(block.double().abs()[:, None] - sizes).abs().argmin(1)]
    return scale, nearest * block.double().sign()


def per_weight_sign_lost(block: Tensor) -> tuple[float, Tensor]:
    """Lose the signs."""
    scale, values = block_values(block)
    return scale, values.abs()


EXERCISE = Exercise(
    cases=cases,
    reference=block_values,
    misconceptions=(
        Misconception(
            "absmax / 6",
            partial(block_values, power="exact"),
            "The scale is stored as an exponent only: a power of two.",
        ),
        Misconception(
            "power of absmax",
            partial(block_values, largest=0.0),
            "The largest level, 6, has exponent 2: take 2 off the exponent of absmax, or most levels "
            "are unused.",
        ),
        Misconception(
            "integers",
            partial(block_values, levels=(0, 1, 2, 3, 4, 5, 6)),
            "E2M1's levels are 0, 0.5, 1, 1.5, 2, 3, 4, 6: closer together near 0.",
        ),
        Misconception(
            "rounded up",
            partial(block_values, largest=1.0),
            "One power too large: the exponent of absmax is rounded down before 2 is taken off.",
        ),
        Misconception("signs", per_weight_sign_lost, "The sign is a bit of its own: put it back."),
    ),  # fmt: skip
    praise="4 bits a weight and 8 for 32 of them: 4.25 bits, and the scale is a shift, not a product.",
)
