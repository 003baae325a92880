"""Exercise 10.q4_k_values: the weights that a Q4_K super-block stands for."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (d, dmin, scales [8], mins [8], codes [256]) of two super-blocks; 6-bit scales and mins."""
    draw = torch.Generator().manual_seed(44)
    found = []
    for d, dmin in ((0.001, 0.002), (0.0004, 0.0001)):
        scales, mins = (torch.randint(1, 64, (8,), generator=draw).float() for _ in range(2))
        found.append((d, dmin, scales, mins, torch.randint(0, 16, (256,), generator=draw).float()))
    return found


def reference(d: float, dmin: float, scales: Tensor, mins: Tensor, codes: Tensor) -> Tensor:
    """Return the 256 weights, one at a time."""
    return torch.tensor(
        [d * scales[i // 32].item() * codes[i].item() - dmin * mins[i // 32].item() for i in range(256)]
    )


def _values(step: Tensor, low: Tensor, codes: Tensor) -> Tensor:
    return (step[:, None] * codes.view(8, 32) + low[:, None]).flatten()


def added(d: float, dmin: float, scales: Tensor, mins: Tensor, codes: Tensor) -> Tensor:
    """The minimum is stored as a positive number and subtracted: the lowest code 0 gives -dmin * min."""
    return _values(d * scales, dmin * mins, codes)


def no_minimum(d: float, dmin: float, scales: Tensor, mins: Tensor, codes: Tensor) -> Tensor:
    """Q4_K is not symmetric: code 0 stands for the sub-block's own minimum, -dmin * min."""
    return _values(d * scales, -8 * d * scales, codes)


def one_scale(d: float, dmin: float, scales: Tensor, mins: Tensor, codes: Tensor) -> Tensor:
    """Scales and minima have their own fp16 factors: d and dmin."""
    return _values(d * scales, -d * mins, codes)


def as_zero_point(d: float, dmin: float, scales: Tensor, mins: Tensor, codes: Tensor) -> Tensor:
    """The minimum is in units of dmin, not in codes: subtract it after multiplying."""
    return _values(d * scales, -d * scales * mins, codes)


EXERCISE = Exercise(
    cases, reference, (added, no_minimum, one_scale, as_zero_point),
    praise="Eight sub-blocks share two fp16 numbers; each has its own 6-bit scale and minimum: 4.5 bits a "
    "weight."
)  # fmt: skip
