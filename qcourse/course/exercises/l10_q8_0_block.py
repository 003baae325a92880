"""Exercise 10.q8_0_block: scale and codes of one Q8_0 block."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


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


def block_of(block: Tensor, step=lambda block: block.abs().max() / 127,
             stored=lambda step: step.half().float(),
             code=lambda block, step: (block / step).round()) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the scale as `stored` and the codes; step: of the block; code: from block and step."""
    return stored(step(block)), code(block, step(block))


def clipped(block: Tensor, step: Tensor) -> Tensor:
    """Return codes cut off at the ends of int8."""
    return (block / step).round().clamp(-128, 127)


def of_step(hint: str, name: str, step: Callable) -> tuple[Callable, ...]:
    """Return the answers by another step, codes cut off or not."""
    plain, cut = partial(block_of, step=step), partial(block_of, step=step, code=clipped)
    return slips(hint, **{name: plain, f"{name}, clipped": cut})


WRONG = (
    *of_step("Take the largest magnitude: where the extreme weight is negative it would be clipped.",
             "signed maximum", lambda block: block.max() / 127),
    *of_step("Q8_0 divides absmax by 127, so that the code of the extreme weight, +127 or -127, exists on "
             "both sides.", "by 128", lambda block: block.abs().max() / 128),
    *of_step("Codes are signed, and absmax lands on 127: 255 counts the steps of both sides.",
             "by 255", lambda block: block.abs().max() / 255),
    *of_step("Q8_0 has no zero point: the grid is centred on 0, its step is absmax / 127.",
             "full range", lambda block: (block.max() - block.min()) / 255),
    *of_step("The largest magnitude sets the step: with the mean most codes would not fit in a byte.",
             "mean", lambda block: block.abs().mean() / 127),
    *slips("Round to the nearest code; cutting off doubles the largest error.",
           truncated=partial(block_of, code=lambda block, step: (block / step).trunc()),
           ceil=partial(block_of, code=lambda block, step: (block / step).ceil()),
           floor=partial(block_of, code=lambda block, step: (block / step).floor())),
    *slips("What is stored is the step itself: weight = scale * code.",
           inverse=partial(block_of, stored=lambda step: (1 / step).half().float()),
           absmax=partial(block_of, stored=lambda step: (step * 127).half().float())),
    *slips("The file holds 16 bits: return step.half(), as it is stored.",
           not_stored=partial(block_of, stored=lambda step: step)),
    *slips("The scale is stored in fp16, not bf16: .half().",
           bf16=partial(block_of, stored=lambda step: step.bfloat16().float())),
    *slips("Divide by the step before it is rounded to fp16.",
           codes_of_stored=partial(block_of, code=lambda block, step: (block / step.half().float()).round())),
    *slips("Codes are whole numbers: round the quotients.", not_rounded=partial(block_of, code=torch.div)),
    *slips("Codes are the quotients block / step; multiplying by the step is the way back.",
           multiplied=partial(block_of, code=lambda block, step: (block * step).round()),
           weights=partial(block_of, code=lambda block, step: (block / step).round() * step.half().float())),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="34 bytes for 32 weights: one fp16 scale and 32 codes, 8.5 bits a weight.", tolerance=1e-6
)  # fmt: skip
