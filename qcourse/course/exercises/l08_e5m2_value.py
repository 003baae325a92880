"""Exercise 08.e5m2_value: the other FP8, for range instead of precision."""

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return finite bytes: one, the largest, negative ones, subnormals and zero."""
    normal = (0b0_01111_00, 0b0_01111_10, 0b1_10000_01, 0b0_11110_11, 0b0_00001_00)
    return [(byte,) for byte in (*normal, 0b0_00000_01, 0b1_00000_11, 0b0_00000_00)]


def value(
    byte: int, bias: int = 15, mantissa: int = 2, hidden: bool = True, low: int = 1, sign: bool = True
) -> float:
    """Return the value: sign, seven - mantissa exponent bits, mantissa bits."""
    exponent, fraction = (byte & 127) >> mantissa, (byte & (2**mantissa - 1)) / 2**mantissa
    size = (
        fraction * 2.0 ** (low - bias)
        if hidden and exponent == 0
        else (1 + fraction) * 2.0 ** (exponent - bias)
    )
    return -size if sign and byte & 128 else size


def e4m3(byte: int) -> float:
    """That is E4M3: here five bits are the exponent, two the mantissa."""
    return value(byte, bias=7, mantissa=3)


def bias_7(byte: int) -> float:
    """Five exponent bits have a bias of 2**4 - 1 = 15."""
    return value(byte, bias=7)


def bias_16(byte: int) -> float:
    """The bias is 2**4 - 1 = 15, one less than half of the codes."""
    return value(byte, bias=16)


def no_subnormals(byte: int) -> float:
    """With exponent bits 00000 the leading one is gone."""
    return value(byte, hidden=False)


def subnormal_exponent(byte: int) -> float:
    """Subnormals use the exponent 1 - 15 = -14, so that no gap is left."""
    return value(byte, low=0)


def no_sign(byte: int) -> float:
    """The highest bit is the sign: bytes from 128 on are negative."""
    return value(byte, sign=False)


EXERCISE = Exercise(
    cases, value, (e4m3, bias_7, bias_16, no_subnormals, subnormal_exponent, no_sign),
    praise="Up to 57,344, with only four values between powers of two: gradients need the range, weights do "
    "not.", tolerance=1e-9
)  # fmt: skip
