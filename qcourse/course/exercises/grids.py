"""What goes wrong on any symmetric grid: shared by the exercises that round."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import slips


def largest(values: Tensor, axis: int | tuple) -> Tensor:
    """Return the largest magnitudes along an axis."""
    return values.abs().amax(axis, keepdim=True)


def rounded(values: Tensor, axis: int | tuple, top: int, whole=torch.round, size=largest,
            last: Callable = int, back: Callable = torch.mul, clip: bool = False) -> Tensor:  # fmt: skip
    """Round to steps of absmax / top, one along an axis; the other arguments are what may be wrong."""
    step = size(values, axis) / last(top)
    codes = whole(values / step)
    return back(codes.clamp(-top, top) if clip else codes, step)


def signed(values: Tensor, axis: int | tuple) -> Tensor:
    """Return the largest values along an axis."""
    return values.amax(axis, keepdim=True)


def mean(values: Tensor, axis: int | tuple) -> Tensor:
    """Return the mean magnitudes along an axis."""
    return values.abs().mean(axis, keepdim=True)


def half_range(values: Tensor, axis: int | tuple) -> Tensor:
    """Return half of the range from smallest to largest."""
    return (values.amax(axis, keepdim=True) - values.amin(axis, keepdim=True)) / 2


def grid_slips(answer: Callable) -> tuple[Callable, ...]:
    """Return wrong answers of a function that passes its named arguments on to `rounded`."""
    hints: dict[str, dict] = {
        "Round to the nearest code: floor, ceil, trunc and int() go one way.": {
            "floor": {"whole": torch.floor},
            "ceil": {"whole": torch.ceil},
            "cut off": {"whole": torch.trunc},
        },
        "Take the largest magnitude: the extreme value may be negative.": {
            "signed maximum": {"size": signed},
            "signed maximum, clipped": {"size": signed, "clip": True},
        },
        "The largest magnitude sets the step: with a mean or a deviation the largest values have no code.": {
            "mean": {"size": mean},
            "mean, clipped": {"size": mean, "clip": True},
            "deviation": {"size": lambda values, axis: values.std(axis, keepdim=True)},
        },
        "Half of the range is not the largest magnitude: the grid is centred on 0.": {
            "half range": {"size": half_range},
            "range": {"size": half_range, "last": lambda top: top + 0.5},
        },
        "The largest magnitude lands on the last code of its side, 2**(bits - 1) - 1 (127 of 8 bits).": {
            "a step too many": {"last": lambda top: top + 1},
            "no sign bit": {"last": lambda top: 2 * top + 1},
            "no sign bit, a step too many": {"last": lambda top: 2 * top + 2},
            "half a step too many": {"last": lambda top: top + 0.5},
            "one code": {"last": lambda top: 1},
        },
        "Divide by the step before you round: these values are no whole numbers.": {
            "no step": {"size": lambda values, axis: torch.ones(()), "last": lambda top: 1},
        },
        "Those are codes: multiply them by their step.": {"codes": {"back": lambda codes, step: codes}},
    }  # fmt: skip
    return sum((slips(hint, **{name: partial(answer, **wrong) for name, wrong in forms.items()})
                for hint, forms in hints.items()), ())  # fmt: skip
