"""What goes wrong on any symmetric grid: shared by the exercises that round."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import slips


def rounded(values: Tensor, axis: int | tuple, top: int, whole=torch.round, size=torch.abs,
            last: Callable = int, back: Callable = torch.mul, clip: bool = False) -> Tensor:  # fmt: skip
    """Round to steps of absmax / top, one along an axis; the other arguments are what may be wrong."""
    step = size(values).amax(axis, keepdim=True) / last(top)
    codes = whole(values / step)
    return back(codes.clamp(-top, top) if clip else codes, step)


def grid_slips(answer: Callable) -> tuple[Callable, ...]:
    """Return wrong answers of a function that passes its named arguments on to `rounded`."""
    hints: dict[str, dict] = {
        "Round to the nearest code: floor, trunc and int() cut off.": {
            "floor": {"whole": torch.floor}, "cut off": {"whole": torch.trunc},
        },
        "Take the largest magnitude: the extreme value may be negative.": {
            "signed maximum": {"size": torch.positive},
            "signed maximum, clipped": {"size": torch.positive, "clip": True},
        },
        "The largest magnitude lands on the last code of its side, 2**(bits - 1) - 1 (127 of 8 bits).": {
            "a step too many": {"last": lambda top: top + 1},
            "no sign bit": {"last": lambda top: 2 * top + 1},
            "half a step too many": {"last": lambda top: top + 0.5},
        },
        "Those are codes: multiply them by their step.": {"codes": {"back": lambda codes, step: codes}},
    }  # fmt: skip
    return sum((slips(hint, **{name: partial(answer, **wrong) for name, wrong in forms.items()})
                for hint, forms in hints.items()), ())  # fmt: skip
