"""Exercise 07.mixed_bits: what keeping a few columns in 16 bits costs."""

from functools import partial

from qcourse.course.check import Exercise, Misconception


def cases() -> list[tuple]:
    """Return (rows, columns, kept, bits, group_size)."""
    return [(64, 128, 0, 3, 128), (64, 128, 16, 4, 32), (256, 512, 5, 3, 128), (4096, 4096, 41, 3, 128)]


def bits_per_weight(
    rows: int,
    columns: int,
    kept: int,
    bits: int,
    size: int,
    index: int = 16,
    twice: bool = False,
    zero: bool = True,
) -> float:
    """Count the bits of a matrix: codes, scales and zero points of groups, kept columns and their numbers."""
    rounded = rows * (columns if twice else columns - kept)
    groups = rounded / size
    return (rounded * bits + groups * (16 + zero * bits) + rows * kept * 16 + kept * index) / (rows * columns)


EXERCISE = Exercise(
    cases=cases,
    reference=bits_per_weight,
    misconceptions=(
        Misconception(
            "no scales",
            lambda rows, columns, kept, bits, size: bits_per_weight(rows, columns, kept, bits, 2**60),
            "Each group of the rounded columns stores a 16-bit scale and a zero point of `bits` bits.",
        ),
        Misconception(
            "no zero point",
            partial(bits_per_weight, zero=False),
            "The grid is asymmetric: a zero point a group.",
        ),
        Misconception(
            "no numbers",
            partial(bits_per_weight, index=0),
            "A reader must know which columns: 16 bits for each.",
        ),
        Misconception(
            "kept twice",
            partial(bits_per_weight, twice=True),
            "A kept column needs no code: count columns - kept.",
        ),
        Misconception(
            "an index a weight",
            lambda rows, columns, kept, bits, size: bits_per_weight(
                rows, columns, kept, bits, size, 16 * rows
            ),
            "Whole columns are kept: one number for each, not one for each weight.",
        ),
    ),
    praise="One column in a hundred costs about an eighth of a bit: compare at equal bits, not at "
    "equal width.",
    tolerance=1e-7,
)
