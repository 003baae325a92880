"""Exercise 08.e4m3_value: the number that one byte stands for in FP8 E4M3."""

from collections.abc import Callable
from math import inf, nan

from qcourse.course.check import Exercise, Misconception


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
    """Wrong: gives the hidden one to exponent 0 too."""
    return _decode(byte, 7, subnormal=False)


def bias_eight(byte: int) -> float:
    """Wrong: takes 2**(bits - 1) as the bias."""
    return _decode(byte, 8, subnormal=True)


def subnormal_exponent(byte: int) -> float:
    """Wrong: subnormals with exponent 0 - 7 instead of 1 - 7."""
    sign, exponent, mantissa = (-1.0 if byte & 0x80 else 1.0), byte >> 3 & 15, byte & 7
    return sign * (mantissa / 8 * 2.0**-7 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


def no_sign(byte: int) -> float:
    """Wrong: ignores the sign bit."""
    return _decode(byte & 0x7F, 7, subnormal=True)


def no_numbers_above_240(top: Callable[[int], float]) -> Callable:
    """Return the rule that takes exponent 1111 from the numbers; top: mantissa -> infinity or NaN."""

    def value(byte: int) -> float:
        return top(byte & 7) * (-1 if byte & 0x80 else 1) if byte >> 3 & 15 == 15 else reference(byte)

    return value


NO_INFINITY = (
    "E4M3 has no infinity: exponent 1111 holds ordinary numbers up to 448; only mantissa 111 is NaN."
)


EXERCISE = Exercise(
    cases=cases,
    reference=reference,
    misconceptions=(
        Misconception(
            "no subnormals",
            no_subnormals,
            "With exponent bits 0000 the hidden leading one is gone: the value is mantissa / 8 * "
            "2**-6, and byte 0 is exactly zero.",
        ),
        Misconception(
            "bias 8", bias_eight, "The bias of four exponent bits is 2**3 - 1 = 7: byte 0_0111_000 is 1.0."
        ),
        Misconception(
            "subnormal exponent",
            subnormal_exponent,
            "Subnormals use the exponent of the smallest normal number, 1 - 7 = -6, so that the "
            "values go on without a gap.",
        ),
        Misconception("no sign", no_sign, "The highest bit is the sign: bytes from 128 on are negative."),
        Misconception("infinity", no_numbers_above_240(lambda mantissa: inf), NO_INFINITY),
        Misconception("NaN", no_numbers_above_240(lambda mantissa: nan), NO_INFINITY),
        Misconception(
            "infinity and NaN", no_numbers_above_240(lambda mantissa: nan if mantissa else inf), NO_INFINITY
        ),
    ),
    praise=(
        "Sign, exponent, mantissa, with the hidden one gone at exponent 0: that is all 256 bytes but two "
        "NaNs."
    ),
    tolerance=1e-9,
)
