"""Exercise 08.nvfp4_scales: FP8 scales for blocks of 16 under one number for the whole tensor."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (weight [out, in],), columns a multiple of 16; blocks of unlike sizes."""
    draw = torch.Generator().manual_seed(84)
    sizes = torch.tensor([1.0, 0.3, 4.0, 0.07]).repeat_interleave(16)
    return [(torch.randn(2, 64, generator=draw) * sizes * size,) for size in (0.02, 1.0, 30.0)]


def e4m3(values: Tensor) -> Tensor:
    """Round to E4M3."""
    return values.to(torch.float8_e4m3fn).float()


def scales(weight: Tensor, rounded=e4m3, size: int = 16, largest=lambda blocks: blocks.abs().amax(-1),
           top: float = 448 * 6.0, level: float = 6.0, of=torch.mul,
           whole=lambda weight: weight.abs().max()) -> tuple:  # fmt: skip
    """Return the tensor-wide divisor 448 * 6 / absmax and each block's scale in E4M3 [out, in / 16].

    largest: of a block; of: block's scale and divisor -> what is rounded; whole: what the divisor divides by.
    """
    divisor = top / float(whole(weight))
    return divisor, rounded(of(largest(weight.unflatten(1, (-1, size))) / level, divisor))


def of(**wrong) -> Callable:
    """Return the answer with something wrong."""
    return partial(scales, **wrong)


WRONG = (
    *slips("The scale of a block is stored in FP8: round it to E4M3.",
           not_fp8=of(rounded=lambda values: values),
           power_of_two=of(rounded=lambda values: 2.0 ** values.log2().round()),
           bf16=of(rounded=lambda values: values.bfloat16().float()), whole_numbers=of(rounded=torch.round)),
    *slips("Scales are stored in E4M3, the FP8 with three bits of mantissa.",
           e5m2=of(rounded=lambda values: values.to(torch.float8_e5m2).float())),
    *slips("absmax / 6 of small weights falls among E4M3's subnormals: multiply by the divisor before "
           "rounding.", undivided=of(of=lambda scale, divisor: scale), divided=of(of=torch.div),
           rounded_first=of(of=lambda scale, divisor: e4m3(scale) * divisor, rounded=lambda values: values)),
    *slips("Return the scales as they are stored; the real ones are those over the divisor.",
           real=lambda weight: (scales(weight)[0], scales(weight)[1] / scales(weight)[0])),
    *slips("NVFP4's blocks have 16 weights; 32 is MXFP4.", blocks_of_32=of(size=32), blocks_of_8=of(size=8)),
    *slips("A block is 16 weights of one row that follow each other.",
           blocks_down=lambda weight: (scales(weight)[0], scales(weight.T.reshape(weight.shape))[1])),
    *slips("The largest scale should be FP8's largest: 448 * 6 / absmax.", no_448=of(top=6.0),
           of_240=of(top=240 * 6.0), divisor_without_6=of(top=448.0)),
    *slips("The largest level of E2M1 is 6: absmax / 6 meets it.", no_6=of(level=1.0), seven=of(level=7.0),
           no_6_at_all=of(top=448.0, level=1.0)),
    *slips("The divisor is 448 * 6 over absmax: yours is upside down.",
           upside_down=lambda weight: (1 / scales(weight)[0], scales(weight)[1]),
           upside_down_and_used=lambda weight: (1 / scales(weight)[0], scales(weight, of=torch.div)[1])),
    *slips("Take the largest magnitude: it may be negative.",
           signed_blocks=of(largest=lambda blocks: blocks.amax(-1)), signed=of(whole=torch.max)),
    *slips("The largest weight of a block sets its scale, not the mean.",
           means=of(largest=lambda blocks: blocks.abs().mean(-1))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, scales, WRONG,
    praise="Two levels of scales: one float32 sets the range, and E4M3 fits each 16 weights closely; 4.5 "
    "bits."
)  # fmt: skip
