"""Exercise 08.e4m3_value: the number that one byte stands for in FP8 E4M3."""

from collections.abc import Callable
from math import inf, nan

from qcourse.course.check import Exercise


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


def _decode(byte: int, bias: int, subnormal: bool) -> float:
    """Return the value under a wrong rule."""
    sign, exponent, mantissa = (-1.0 if byte & 0x80 else 1.0), byte >> 3 & 15, byte & 7
    if subnormal and exponent == 0:
        return sign * mantissa / 8 * 2.0 ** (1 - bias)
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - bias)


def no_subnormals(byte: int) -> float:
    """With exponent bits 0000 the hidden leading one is gone: the value is mantissa / 8 * 2**-6, and byte 0
    is exactly zero.
    """
    return _decode(byte, 7, subnormal=False)


def bias_eight(byte: int) -> float:
    """The bias of four exponent bits is 2**3 - 1 = 7: byte 0_0111_000 is 1.0."""
    return _decode(byte, 8, subnormal=True)


def subnormal_exponent(byte: int) -> float:
    """Subnormals use the exponent of the smallest normal number, 1 - 7 = -6, so that the values go on without
    a gap.
    """
    sign, exponent, mantissa = (-1.0 if byte & 0x80 else 1.0), byte >> 3 & 15, byte & 7
    return sign * (mantissa / 8 * 2.0**-7 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


def no_sign(byte: int) -> float:
    """The highest bit is the sign: bytes from 128 on are negative."""
    return _decode(byte & 0x7F, 7, subnormal=True)


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


EXERCISE = Exercise(
    cases, reference, (no_subnormals, bias_eight, subnormal_exponent, no_sign, *NO_NUMBERS_ABOVE_240),
    praise="Sign, exponent, mantissa, with the hidden one gone at exponent 0: that is all 256 bytes but two "
    "NaNs.", tolerance=1e-9
)  # fmt: skip
