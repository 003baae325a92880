"""Exercise 08.e5m2_value: the other FP8, for range instead of precision."""

from qcourse.course.check import Exercise, slips
from qcourse.course.exercises.l08_e4m3_value import format_slips, value


def cases() -> list[tuple]:
    """Return finite bytes: one, the largest, negative ones, subnormals and zero."""
    normal = (0b0_01111_00, 0b0_01111_10, 0b1_10000_01, 0b0_11110_11, 0b0_00001_00)
    return [(byte,) for byte in (*normal, 0b0_00000_01, 0b1_00000_11, 0b0_00000_00)]


def reference(byte: int) -> float:
    """Return the value through an integer count of the smallest step, 2**-16."""
    exponent, mantissa = (byte & 0x7F) // 4, byte % 4
    steps = mantissa if exponent == 0 else (4 + mantissa) * 2 ** (exponent - 1)
    return (-1) ** (byte // 128) * steps / 2**16


WRONG = (
    *format_slips(15, 2),
    *slips("That is E4M3: here five bits are the exponent, two the mantissa.",
           e4m3=lambda byte: value(byte, 7, 3)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Up to 57,344, with only four values between powers of two: gradients need the range, weights do "
    "not.", tolerance=1e-9
)  # fmt: skip
