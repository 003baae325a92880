"""Exercise 08.mxfp4_block: four-bit floats under a scale that is a power of two."""

from collections.abc import Callable
from functools import partial
from math import ceil, floor, log, log2, log10

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips

LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def cases() -> list[tuple]:
    """Return blocks of 32 whose largest magnitude lies low and high in its binade; no ties."""
    draw = torch.Generator().manual_seed(83)
    found = []
    for top in (4.0, -0.071, 150.0, 1.3, 7.6, -2.9):
        block = torch.randn(32, generator=draw).clamp(-2, 2) * abs(top) / 2.5
        block[9] = top
        found.append((block,))
    return found


def block_values(block: Tensor, power=lambda top: floor(log2(top)) - 2, scale_of=None, levels: tuple = LEVELS,
                 pick=lambda sizes, levels: (sizes[:, None] - levels).abs().argmin(1),
                 back=lambda level, scale, block: level * scale * block.sign()) -> tuple:  # fmt: skip
    """Return the scale, 2**(exponent of absmax - 2), and the block on the levels of E2M1 under it.

    power: of absmax; scale_of: the scale itself; pick: level of each magnitude; back: from levels to weights.
    """
    top = float(block.abs().max())
    scale = scale_of(block) if scale_of else 2.0 ** power(top)
    numbers = torch.tensor(levels, dtype=torch.float64)
    return scale, back(numbers[pick(block.double().abs() / scale, numbers)], scale, block.double())


def of(**wrong) -> Callable:
    """Return the answer with something wrong."""
    return partial(block_values, **wrong)


WRONG = (
    *slips("The scale is stored as an exponent only: a power of two.",
           sixth_of_absmax=of(scale_of=lambda block: float(block.abs().max()) / 6),
           quarter_of_absmax=of(scale_of=lambda block: float(block.abs().max()) / 4)),
    *slips("The largest level, 6, has exponent 2: take 2 off the exponent of absmax, or most levels are "
           "unused.", power_of_absmax=of(power=lambda top: floor(log2(top))),
               two_added=of(power=lambda top: floor(log2(top)) + 2)),
    *slips("One power too large: the exponent of absmax is rounded down before 2 is taken off.",
           rounded_up=of(power=lambda top: floor(log2(top)) - 1),
           ceiling=of(power=lambda top: ceil(log2(top)) - 2)),
    *slips("One power too small: take 2, the exponent of 6, off that of absmax, or large weights are cut to "
           "6.", three_off=of(power=lambda top: floor(log2(top)) - 3),
               sixth_rounded_down=of(power=lambda top: floor(log2(top / 6)))),
    *slips("That is the power nearest to absmax / 6; the exponent of absmax less 2 is asked.",
           nearest_power_of_a_sixth=of(power=lambda top: round(log2(top / 6)))),
    *slips("Round the exponent of absmax down, not to the nearest: in the upper half of a binade they "
           "differ.", nearest_power=of(power=lambda top: round(log2(top)) - 2)),
    *slips("Round the exponent down: int() cuts off, which is up for an exponent below 0.",
           cut_off=of(power=lambda top: int(log2(top)) - 2)),
    *slips("That scale lets no weight exceed 6; MXFP4 takes floor(log2(absmax)) - 2, and the largest may be "
           "cut to 6.", power_that_holds_all=of(power=lambda top: ceil(log2(top / 6)))),
    *slips("The exponent of a power of two needs log2, not another logarithm.",
           natural=of(power=lambda top: floor(log(top)) - 2),
               decimal=of(power=lambda top: floor(log10(top)) - 2)),
    *slips("Take the largest magnitude: it may be negative.",
           signed_maximum=of(scale_of=lambda block: 2.0 ** (floor(log2(float(block.max()))) - 2))),
    *slips("Return the scale itself, 2**exponent.",
           exponent=lambda block: (log2(block_values(block)[0]), block_values(block)[1])),
    *slips("E2M1's levels are 0, 0.5, 1, 1.5, 2, 3, 4, 6: closer together near 0.",
           integers=of(levels=(0, 1, 2, 3, 4, 5, 6)), integers_to_7=of(levels=(0, 1, 2, 3, 4, 5, 6, 7)),
           whole_numbers=of(pick=lambda sizes, levels: sizes.round().long(), levels=tuple(range(9))),
           no_half=of(levels=(0, 1, 1.5, 2, 3, 4, 6)), eight=of(levels=(*LEVELS, 8.0))),
    *slips("The sign is a bit of its own: round magnitudes, then put it back.",
           sign_lost=of(back=lambda level, scale, block: level * scale),
           negative_to_zero=of(back=lambda level, scale, block: level * scale * (block > 0))),
    *slips("Take the nearest level: yours is the next one on one side.",
           next_below=of(pick=lambda sizes, levels: torch.searchsorted(levels, sizes, right=True) - 1),
           next_above=of(pick=lambda sizes, levels: torch.searchsorted(levels, sizes).clamp(max=7))),
    *slips("Divide by the scale before the levels are compared, and multiply by it afterwards.",
           not_multiplied=of(back=lambda level, scale, block: level * block.sign()),
           divided_again=of(back=lambda level, scale, block: level / scale * block.sign()),
           not_divided=lambda block: (block_values(block)[0], block_values(block,
           scale_of=lambda block: 1.0)[1])),
    *slips("Return the rounded weights, not the numbers of their levels.",
           numbers_of_levels=of(levels=tuple(range(8)), pick=lambda sizes, levels: (
               sizes[:, None] - torch.tensor(LEVELS)).abs().argmin(1),
               back=lambda level, scale, block: level)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, block_values,
    WRONG,
    praise="4 bits a weight and 8 for 32 of them: 4.25 bits, and the scale is a shift, not a product."
)  # fmt: skip
