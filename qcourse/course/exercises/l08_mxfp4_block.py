"""Exercise 08.mxfp4_block: four-bit floats under a scale that is a power of two."""

from math import floor, log2

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slip

LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def cases() -> list[tuple]:
    """Return blocks of 32 whose largest magnitude lies low and high in its binade; no ties."""
    draw = torch.Generator().manual_seed(83)
    found = []
    for top in (4.1, -0.071, 150.0, 1.3, 7.6, -2.9):
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


def near(block: Tensor, limit: float) -> bool:
    """Say whether absmax, brought between 1 and 2, lies above a limit."""
    top = float(block.abs().max())
    return top / 2 ** floor(log2(top)) > limit


def per_weight_sign_lost(block: Tensor) -> tuple[float, Tensor]:
    """The sign is a bit of its own: put it back."""
    scale, values = block_values(block)
    return scale, values.abs()


def sixth_of_absmax(block: Tensor) -> tuple[float, Tensor]:
    """The scale is stored as an exponent only: a power of two."""
    return block_values(block, power="exact")


def power_of_absmax(block: Tensor) -> tuple[float, Tensor]:
    """The largest level, 6, has exponent 2: take 2 off the exponent of absmax, or most levels are unused."""
    return block_values(block, largest=0.0)


def integers(block: Tensor) -> tuple[float, Tensor]:
    """E2M1's levels are 0, 0.5, 1, 1.5, 2, 3, 4, 6: closer together near 0."""
    return block_values(block, levels=(0, 1, 2, 3, 4, 5, 6))


def rounded_up(block: Tensor) -> tuple[float, Tensor]:
    """One power too large: the exponent of absmax is rounded down before 2 is taken off."""
    return block_values(block, largest=1.0)


SLIPS = (
    slip("nearest power of a sixth",
         "That is the power nearest to absmax / 6; the exponent of absmax less 2 is asked.",
         lambda block: block_values(block, largest=2.0 if near(block, 6 / 2**2.5) else 3.0)),
    slip("nearest power",
         "Round the exponent of absmax down, not to the nearest: in the upper half of a binade they "
         "differ.",
         lambda block: block_values(block, largest=1.0 if near(block, 2**0.5) else 2.0)),
    slip("power that holds all",
         "That scale lets no weight exceed 6; MXFP4 takes floor(log2(absmax)) - 2, and the largest "
         "may be cut to 6.",
         lambda block: block_values(block, largest=1.0 if near(block, 1.5) else 2.0)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, block_values,
    (sixth_of_absmax, power_of_absmax, integers, rounded_up, per_weight_sign_lost, *SLIPS),
    praise="4 bits a weight and 8 for 32 of them: 4.25 bits, and the scale is a shift, not a product."
)  # fmt: skip
