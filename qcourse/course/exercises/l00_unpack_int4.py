"""Exercise 00.unpack_int4: from packed words back to weights."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (words int64 [n], scale, zero_point): 0x76543210 holds the codes 0 to 7 in order."""
    return [
        (torch.tensor([0x76543210]), 1.0, 0),
        (torch.tensor([0x76543210, 0x8F9A1B2C]), 0.5, 8),
        (torch.tensor([0xFEDCBA98, 0x13579BDF]), 0.02, 7),
    ]


def values(
    words: Tensor,
    scale: float,
    zero: int,
    mask: int = 15,
    shift: int = 4,
    high: bool = False,
    after: bool = False,
) -> Tensor:
    """Take eight codes from each word, the first from the lowest bits, and scale them."""
    places = range(7, -1, -1) if high else range(8)
    codes = [int(word) >> shift * place & mask for word in words for place in places]
    return torch.tensor([code * scale - zero if after else (code - zero) * scale for code in codes])


def codes_only(words: Tensor, scale: float, zero: int) -> Tensor:
    """Those are the codes: a weight is (code - zero_point) * scale."""
    return values(words, 1.0, 0)


def highest_first(words: Tensor, scale: float, zero: int) -> Tensor:
    """Start at the lowest four bits: shift by 4 * i, i = 0 to 7."""
    return values(words, scale, zero, high=True)


def no_mask(words: Tensor, scale: float, zero: int) -> Tensor:
    """After the shift the higher codes are still there: keep four bits, & 15."""
    return values(words, scale, zero, mask=-1)


def zero_after_scale(words: Tensor, scale: float, zero: int) -> Tensor:
    """The zero point is a code: subtract it before you multiply by the scale."""
    return values(words, scale, zero, after=True)


def one_bit_each(words: Tensor, scale: float, zero: int) -> Tensor:
    """The codes lie four bits apart: shift by 4 * i."""
    return values(words, scale, zero, shift=1)


SLIPS = (
    *slips("The zero point is the code that stands for 0: subtract it from each code.",
           no_zero_point=lambda words, scale, zero: values(words, scale, 0)),
    *slips("Subtract the zero point: the code that equals it must give 0.",
           zero_point_added=lambda words, scale, zero: values(words, scale, -zero)),
    *slips("The scale is the step between two codes: multiply by it.",
           divided=lambda words, scale, zero: values(words, 1 / scale, zero)),
    *slips("A code has four bits: & 7 keeps three of them.",
           three_bits=lambda words, scale, zero: values(words, scale, zero, mask=7)),
    *slips("& 4 keeps a single bit; a mask for four bits has four ones.",
           one_bit=lambda words, scale, zero: values(words, scale, zero, mask=4)),
    *slips("& 255 keeps eight bits, two codes.",
           a_byte=lambda words, scale, zero: values(words, scale, zero, mask=255)),
    *slips("The codes lie four bits apart, not a byte.",
           eight_bits_apart=lambda words, scale, zero: values(words, scale, zero, shift=8)),
    *slips("Shift to the right: code i must come down to the lowest bits.",
           left_shift=lambda words, scale, zero: ((words[:,
               None] << 4 * torch.arange(8) & 15).flatten() - zero) * scale),
    *slips("In Python - binds tighter than &: put the masked code in parentheses.",
           precedence=lambda words, scale, zero: (words[:,
               None] >> 4 * torch.arange(8) & 15 - zero).flatten() * scale),
    *slips("Mask the code before you subtract: & 15 of a negative difference is positive.",
           masked_last=lambda words, scale, zero: (values(words, 1.0, zero, mask=-1).long() & 15) * scale),
)  # fmt: skip

EXERCISE = Exercise(
    cases, values,
    (highest_first, no_mask, zero_after_scale, codes_only, one_bit_each, *SLIPS),
    praise="A kernel does this for every weight it reads: shift, mask, subtract, multiply."
)  # fmt: skip
