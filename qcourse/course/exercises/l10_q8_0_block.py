"""Exercise 10.q8_0_block: scale and codes of one Q8_0 block."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return blocks of 32: a ramp with a negative extreme, normal weights, normal weights with an outlier."""
    draw = torch.Generator().manual_seed(10)
    outlier = torch.randn(32, generator=draw) * 0.02
    outlier[7] = -1.9
    return [(torch.linspace(-1.27, 0.9, 32),), (torch.randn(32, generator=draw) * 0.05,), (outlier,)]


def reference(block: Tensor) -> tuple[Tensor, Tensor]:
    """Return (scale as stored in fp16, codes), one weight at a time; codes use the unstored scale."""
    step = max(abs(value) for value in block.tolist()) / 127
    return torch.tensor(step).half().float(), torch.tensor([round(value / step) for value in block.tolist()])


def _with(step: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
    return step.half().float(), (block / step).round().clamp(-128, 127)


def signed_maximum(block: Tensor) -> tuple[Tensor, Tensor]:
    """Take the largest magnitude: in this block the extreme weight is negative and would be clipped."""
    return _with(block.max() / 127, block)


def by_128(block: Tensor) -> tuple[Tensor, Tensor]:
    """Q8_0 divides absmax by 127, so that the code of the extreme weight, +127 or -127, exists
    on both sides.
    """
    return _with(block.abs().max() / 128, block)


def full_range(block: Tensor) -> tuple[Tensor, Tensor]:
    """Q8_0 has no zero point: the grid is centred on 0, its step is absmax / 127."""
    return _with((block.max() - block.min()) / 255, block)


def truncated(block: Tensor) -> tuple[Tensor, Tensor]:
    """Round to the nearest code; cutting off doubles the largest error."""
    step = block.abs().max() / 127
    return step.half().float(), (block / step).trunc()


def inverse(block: Tensor) -> tuple[Tensor, Tensor]:
    """What is stored is the step itself: weight = scale * code."""
    step = block.abs().max() / 127
    return (1 / step).half().float(), (block / step).round()


def not_stored(block: Tensor) -> tuple[Tensor, Tensor]:
    """The file holds 16 bits: return step.half(), as it is stored."""
    step = block.abs().max() / 127
    return step, (block / step).round()


def codes_of_stored(block: Tensor) -> tuple[Tensor, Tensor]:
    """Divide by the step before it is rounded to fp16."""
    step = (block.abs().max() / 127).half().float()
    return step, (block / step).round()


EXERCISE = Exercise(
    cases, reference, (signed_maximum, by_128, full_range, truncated, inverse, not_stored, codes_of_stored),
    praise="34 bytes for 32 weights: one fp16 scale and 32 codes, 8.5 bits a weight.", tolerance=1e-6
)  # fmt: skip
