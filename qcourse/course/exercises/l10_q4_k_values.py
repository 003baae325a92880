"""Exercise 10.q4_k_values: the weights that a Q4_K super-block stands for."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


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


def values(step: Tensor, low: Tensor, codes: Tensor) -> Tensor:
    """Return step * codes - low, one step and one low end for each sub-block of 32."""
    return (step[:, None] * codes.view(8, 32) - low[:, None]).flatten()


WRONG = (
    *slips("The minimum is stored as a positive number and subtracted: the lowest code 0 gives -dmin * min.",
           added=lambda d, dmin, s, m, codes: values(d * s, -dmin * m, codes)),
    *slips("Q4_K is not symmetric: code 0 stands for the sub-block's own minimum, -dmin * min.",
           no_minimum=lambda d, dmin, s, m, codes: values(d * s, 8 * d * s, codes),
           minimum_left_out=lambda d, dmin, s, m, codes: values(d * s, 0 * m, codes)),
    *slips("Scales and minima have their own fp16 factors: d and dmin.",
           one_scale=lambda d, dmin, s, m, codes: values(d * s, d * m, codes),
           no_dmin=lambda d, dmin, s, m, codes: values(d * s, m, codes),
           no_d=lambda d, dmin, s, m, codes: values(s, dmin * m, codes),
           factors_exchanged=lambda d, dmin, s, m, codes: values(dmin * s, d * m, codes)),
    *slips("The minimum is in units of dmin, not in codes: subtract it after multiplying.",
           as_zero_point=lambda d, dmin, s, m, codes: values(d * s, d * s * m, codes),
           before_the_step=lambda d, dmin, s, m, codes: values(d * s, d * s * dmin * m, codes)),
    *slips("scales multiply the codes, mins are subtracted: yours are exchanged.",
           exchanged=lambda d, dmin, s, m, codes: values(d * m, dmin * s, codes)),
    *slips("A sub-block is 32 codes that follow each other: repeat_interleave(32), not repeat(32).",
           strided=lambda d, dmin, s, m, codes: values(d * s, dmin * m, codes.view(32, 8).T).view(8,
               32).T.flatten()),
    *slips("A code is multiplied by the step as it is, 0 to 15.",
           over_15=lambda d, dmin, s, m, codes: values(d * s / 15, dmin * m, codes)),
    *slips("Each of the eight sub-blocks has its own scale and minimum; yours takes the first, or the mean.",
           first_minimum=lambda d, dmin, s, m, codes: values(d * s, dmin * m[:1].expand(8), codes),
           mean_of_all=lambda d, dmin, s, m, codes: values(d * s.mean().expand(8),
               dmin * m.mean().expand(8), codes),
           first_sub_block=lambda d, dmin, s, m, codes: values(d * s[:1].expand(8), dmin * m[:1].expand(8),
               codes)),
    *slips("A code is multiplied by its step; dividing was for writing.",
           divided=lambda d, dmin, s, m, codes: values(1 / (d * s), dmin * m, codes)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Eight sub-blocks share two fp16 numbers; each has its own 6-bit scale and minimum: 4.5 bits a "
    "weight."
)  # fmt: skip
