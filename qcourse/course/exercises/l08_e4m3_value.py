"""Exercise 08.e4m3_value: the number that one byte stands for in FP8 E4M3."""

from collections.abc import Callable
from functools import partial
from math import inf, nan

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return bytes: normal numbers up to the largest of all, then subnormals and zero."""
    normal = (0b0_0111_000, 0b0_0111_100, 0b1_1000_010, 0b0_0001_000, 0b0_1111_110, 0b0_1111_000)
    others = (0b0_0000_001, 0b0_0000_111, 0b0_0000_000, 0b1_0000_101)
    return [(byte,) for byte in (*normal, *others)]


def reference(byte: int) -> float:
    """Return the value through an integer count of the smallest step, 2**-9."""
    exponent, mantissa = (byte & 0x7F) // 8, byte % 8
    steps = mantissa if exponent == 0 else (8 + mantissa) * 2 ** (exponent - 1)
    return (-1) ** (byte // 128) * steps / 512


def value(byte: int, bias: int, bits: int, *, mask: int | None = None, shift: int = 0, part: int = 0,
          lead: float = 1.0, gone: float = 0.0, low: int | None = None, sign: int = -1,
          subnormal: bool = True) -> float:  # fmt: skip
    """Return the value of a byte with `bits` bits of mantissa; the named arguments are what may be wrong.

    mask, shift: take out the exponent; part: divides the mantissa; lead, gone: the leading digit of normal
    and subnormal numbers; low: the exponent of subnormal ones; sign: of bytes from 128 on.
    """
    exponent = byte >> (bits + shift) & (2 ** (7 - bits) - 1 if mask is None else mask)
    fraction = (byte & 2**bits - 1) / (part or 2**bits)
    if subnormal and exponent == 0:
        size = (gone + fraction) * 2.0 ** (1 - bias if low is None else low)
    else:
        size = (lead + fraction) * 2.0 ** (exponent - bias)
    return sign * size if byte & 128 else size


def format_slips(bias: int, bits: int) -> tuple[Callable, ...]:
    """Return wrong readings of a format of eight bits."""
    read, whole, least = partial(value, bias=bias, bits=bits), 2**bits, 1 - bias
    return (
        *slips("With exponent bits of 0 the hidden leading one is gone: the value is "
               f"mantissa / {whole} * 2**{least}, and byte 0 is exactly zero.",
               no_subnormals=partial(read, subnormal=False), one_not_gone=partial(read, gone=1.0)),
        *slips("Subnormals are not zero: they fill the gap between 0 and the smallest normal number.",
               subnormals_zero=lambda byte: read(byte) if abs(read(byte)) >= 2.0**least else 0.0),
        *slips("A normal number has a hidden leading one before its mantissa.",
               no_leading_one=partial(read, lead=0.0),
               no_leading_one_nor_subnormals=partial(read, lead=0.0, subnormal=False)),
        *slips(f"The bias of {7 - bits} exponent bits is 2**{6 - bits} - 1 = {bias}.",
               bias_too_large=partial(read, bias=bias + 1),
               bias_of_normals=partial(read, bias=bias + 1, low=least),
               no_bias=partial(read, bias=0), other_bias=partial(read, bias=22 - bias)),
        *slips(f"Subnormals use the exponent of the smallest normal number, 1 - {bias} = {least}, so "
               "that the values go on without a gap.", subnormal_exponent=partial(read, low=-bias),
               exponent_of_the_other=partial(read, low=bias - 21)),
        *slips("The highest bit is the sign: bytes from 128 on are negative.", no_sign=partial(read, sign=1)),
        *slips(f"The mantissa counts parts of {whole}: m / {whole}.",
               largest_is_one=partial(read, part=whole - 1),
               not_divided=partial(read, part=1), twice_divided=partial(read, part=2 * whole)),
        *slips(f"The exponent has {7 - bits} bits, above the {bits} of the mantissa: shift by {bits}, and "
               "mask them all, but not the sign.", sign_in_exponent=partial(read, mask=2 ** (8 - bits) - 1),
               a_bit_lost=partial(read, mask=2 ** (6 - bits) - 1), shifted_too_far=partial(read, shift=1)),
        *slips("That reads the byte as an integer: take out sign, exponent and mantissa.",
               integer=lambda byte: byte - 256 * (byte > 127)),
    )  # fmt: skip


def no_numbers_above_240(name: str, top: Callable[[int], float]) -> Callable:
    """Return the rule that takes exponent 1111 from the numbers; top: mantissa -> infinity or NaN."""

    def value(byte: int) -> float:
        """E4M3 has no infinity: exponent 1111 holds ordinary numbers up to 448; only mantissa 111 is NaN."""
        return top(byte & 7) * (-1 if byte & 0x80 else 1) if byte >> 3 & 15 == 15 else reference(byte)

    value.__name__ = name
    return value


NO_NUMBERS_ABOVE_240 = (
    no_numbers_above_240("infinity", lambda mantissa: inf),
    no_numbers_above_240("NaN", lambda mantissa: nan),
    no_numbers_above_240("infinity and NaN", lambda mantissa: nan if mantissa else inf),
)


WRONG = (
    *format_slips(7, 3),
    *NO_NUMBERS_ABOVE_240,
    *slips(
        "That is E5M2: here four bits are the exponent, three the mantissa.",
        e5m2=lambda byte: value(byte, 15, 2),
    ),
)

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Sign, exponent, mantissa, with the hidden one gone at exponent 0: that is all 256 bytes but two "
    "NaNs.", tolerance=1e-9
)  # fmt: skip
