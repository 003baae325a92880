"""Exercise 02.round_group: symmetric rounding of one group of weights."""

from collections.abc import Callable

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (group [n], bits); the largest magnitude is once negative; no value lies on a tie."""
    draw = torch.Generator().manual_seed(2)
    wide = torch.randn(64, generator=draw)
    first, second = torch.tensor([0.30, -1.05, 0.62, 0.11]), torch.tensor([2.1, -0.37, 0.82, -1.3])
    return [(first, 3), (second, 4), (wide, 4), (-wide.abs(), 2), (wide * 0.02, 8)]


def reference(group: Tensor, bits: int) -> Tensor:
    """Round to multiples of absmax / (2**(bits-1) - 1), one weight at a time."""
    top = 2 ** (bits - 1) - 1
    scale = max(abs(value) for value in group.tolist()) / top
    return torch.tensor([round(value / scale) * scale for value in group.tolist()])


def with_top(group: Tensor, scale: Tensor | float, low: int, high: int) -> Tensor:
    """Round to the grid low..high of one scale."""
    return (group / scale).round().clamp(low, high) * scale


def step_of(group: Tensor, bits: int) -> Tensor:
    """Return the right step."""
    return group.abs().max() / (2 ** (bits - 1) - 1)


def on_grid(group: Tensor, step: Tensor, whole: Callable = torch.round) -> Tensor:
    """Return multiples of a step, not clipped."""
    return whole(group / step) * step


def signed_maximum(group: Tensor, bits: int) -> Tensor:
    """Take the largest magnitude: when the extreme weight is negative, max() misses it and clips."""
    top = 2 ** (bits - 1) - 1
    return with_top(group, group.max() / top, -top, top)


def too_many_levels(group: Tensor, bits: int) -> Tensor:
    """b bits make 2**b codes for both signs together: 2**(b-1) - 1 steps on each side of zero."""
    top = 2**bits - 1
    return with_top(group, group.abs().max() / top, -top, top)


def truncated(group: Tensor, bits: int) -> Tensor:
    """Round to the nearest level; cutting off doubles the largest error."""
    top = 2 ** (bits - 1) - 1
    scale = group.abs().max() / top
    return (group / scale).trunc() * scale


def codes_only(group: Tensor, bits: int) -> Tensor:
    """Those are the codes. Multiply by the scale to get weights again."""
    top = 2 ** (bits - 1) - 1
    return (group / (group.abs().max() / top)).round()


def min_max(group: Tensor, bits: int) -> Tensor:
    """That grid is asymmetric: it needs a zero point. Here the grid is centred on 0."""
    scale = (group.max() - group.min()) / (2**bits - 1)
    return ((group - group.min()) / scale).round() * scale + group.min()


def other_steps(name: str, steps: Callable[[int], float], clipped: bool) -> Callable:
    """Return a rounding that puts the absmax `steps(bits)` steps from 0, cut to 2**bits codes or not."""

    def rounding(group: Tensor, bits: int) -> Tensor:
        """That is another convention (GPTQ's grid and two's complement use all 2**b codes): here the absmax
        lies on the last of 2**(b-1) - 1 steps.
        """
        scale, top = group.abs().max() / steps(bits), 2 ** (bits - 1)
        return with_top(group, scale, -top, top - 1 if clipped else top)

    rounding.__name__ = name
    return rounding


def twos_complement(bits: int) -> float:
    """Return as many steps as there are negative codes."""
    return 2 ** (bits - 1)


def every_code(bits: int) -> float:
    """Return half of the steps between 2**bits codes."""
    return (2**bits - 1) / 2


OTHER_CONVENTIONS = (
    other_steps("half of the codes", twos_complement, False),
    other_steps("half of the codes, clipped", twos_complement, True),
    other_steps("grid of GPTQ", every_code, False),
    other_steps("grid of GPTQ, clipped", every_code, True),
)

SLIPS = (
    *slips("Take the largest magnitude: where the extreme weight is negative, max() misses it.",
           signed_maximum_not_clipped=lambda group, bits: on_grid(group, group.max() / (2 ** (bits - 1) - 1)),
           signed_maximum_clipped_to_all_codes=lambda group, bits: with_top(group, group.max()
               / (2 ** (bits - 1) - 1), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)),
    *slips("Take the largest magnitude: the smallest weight need not have it.",
           minimum=lambda group, bits: on_grid(group, group.min() / (2 ** (bits - 1) - 1))),
    *slips("Round to the nearest level: floor always goes down, up to a whole step.",
           floor=lambda group, bits: on_grid(group, step_of(group, bits), torch.floor)),
    *slips("Round to the nearest level: // always goes down, up to a whole step.",
           floor_division=lambda group, bits: group // step_of(group, bits) * step_of(group, bits)),
    *slips("Round to the nearest level: ceil always goes up, up to a whole step.",
           ceil=lambda group, bits: on_grid(group, step_of(group, bits), torch.ceil)),
    *slips("2**b codes are for both signs together: half of them lie on each side of zero.",
           all_codes_on_one_side=lambda group, bits: on_grid(group, group.abs().max() / 2**bits)),
    *slips("2 ** bits - 1 - 1 is not 2 ** (bits - 1) - 1: mind what the exponent is.",
           precedence=lambda group, bits: on_grid(group, group.abs().max() / (2**bits - 2))),
    *slips("From 2**(b-1) one is taken off, not added: one code is zero itself.",
           one_added=lambda group, bits: on_grid(group, group.abs().max() / (2 ** (bits - 1) + 1))),
    *slips("Divide by the step before you round, or all levels are whole numbers.",
           rounded_at_once=lambda group, bits: group.round()),
    *slips("The step comes from the largest magnitude, not from max minus min.",
           range=lambda group, bits: on_grid(group, (group.max() - group.min()) / (2**bits - 1))),
    *slips("Divide by the step before rounding and multiply after, not the other way round.",
           step_multiplied=lambda group, bits: (group * step_of(group, bits)).round() / step_of(group, bits)),
    *slips("After rounding multiply by the step: dividing again leaves the scale of the weights.",
           divided_twice=lambda group, bits: (group / step_of(group, bits)).round() / step_of(group, bits)),
    *slips("Yours lie between -1 and 1: multiply by the step, not only by 1 / (2**(b-1) - 1).",
           between_1_and_1=lambda group, bits: on_grid(group, step_of(group, bits)) / group.abs().max()),
    *slips("The code times the step is the weight; absmax is many steps.",
           times_absmax=lambda group, bits: on_grid(group, step_of(group, bits)) * (2 ** (bits - 1) - 1)),
    *slips("The magnitude sets the step only: negative weights stay negative.",
           sign_lost=lambda group, bits: on_grid(group.abs(), step_of(group, bits))),
    *slips("Codes of a symmetric grid are negative as well: do not clamp at 0.",
           negative_codes_cut_off=lambda group, bits: on_grid(group, step_of(group, bits)).clamp(min=0)),
    *slips("The step is set by the largest magnitude, not by the spread of the weights.",
           standard_deviation=lambda group, bits: on_grid(group, group.std() / (2 ** (bits - 1) - 1))),
    *slips("The step is set by the largest magnitude, not by the mean one.",
           mean_magnitude=lambda group, bits: on_grid(group, group.abs().mean() / (2 ** (bits - 1) - 1))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference,
    (signed_maximum, too_many_levels, truncated, codes_only, min_max, *OTHER_CONVENTIONS, *SLIPS),
    praise="Every weight is now within half a step of where it was, and the step is set by the largest one."
)  # fmt: skip
