"""Exercise 08.nvfp4_scales: FP8 scales for blocks of 16 under one number for the whole tensor."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (weight [out, in],), columns a multiple of 16; blocks of unlike sizes."""
    draw = torch.Generator().manual_seed(84)
    sizes = torch.tensor([1.0, 0.3, 4.0, 0.07]).repeat_interleave(16)
    return [(torch.randn(2, 64, generator=draw) * sizes * size,) for size in (0.02, 1.0, 30.0)]


def scales(
    weight: Tensor, fp8: bool = True, size: int = 16, top: float = 448.0, each: float = 6.0
) -> tuple[float, Tensor]:
    """Return the tensor-wide divisor 448 * 6 / absmax and each block's scale in E4M3 [out, in / 16]."""
    divisor = top * 6 / float(weight.abs().max())
    wanted = weight.abs().unflatten(1, (-1, size)).amax(-1) / each * divisor
    return divisor, wanted.to(torch.float8_e4m3fn).float() if fp8 else wanted


def undivided(weight: Tensor) -> tuple[float, Tensor]:
    """absmax / 6 of small weights falls among E4M3's subnormals: multiply by the divisor before rounding."""
    wanted = weight.abs().unflatten(1, (-1, 16)).amax(-1) / 6
    return scales(weight)[0], wanted.to(torch.float8_e4m3fn).float()


def not_fp8(weight: Tensor) -> tuple[float, Tensor]:
    """The scale of a block is stored in FP8: round it to E4M3."""
    return scales(weight, fp8=False)


def blocks_of_32(weight: Tensor) -> tuple[float, Tensor]:
    """NVFP4's blocks have 16 weights; 32 is MXFP4."""
    return scales(weight, size=32)


def no_448(weight: Tensor) -> tuple[float, Tensor]:
    """The largest scale should be FP8's largest: 448 * 6 / absmax."""
    return scales(weight, top=1.0)


def no_6(weight: Tensor) -> tuple[float, Tensor]:
    """The largest level of E2M1 is 6: absmax / 6 meets it."""
    return scales(weight, each=1.0)


EXERCISE = Exercise(
    cases, scales, (not_fp8, undivided, blocks_of_32, no_448, no_6),
    praise="Two levels of scales: one float32 sets the range, and E4M3 fits each 16 weights closely; 4.5 "
    "bits."
)  # fmt: skip
