"""Exercise 07.mixed_bits: what keeping a few columns in 16 bits costs."""

from functools import partial

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (rows, columns, kept, bits, group_size)."""
    return [
        (64, 128, 0, 3, 128),
        (64, 128, 16, 4, 32),
        (3, 7, 2, 4, 4),
        (256, 512, 5, 3, 128),
        (4096, 4096, 41, 3, 128),
    ]


def bits_per_weight(rows: int, columns: int, kept: int, bits: int, size: int, *, coded=None, scaled=None,
                    part=16, zero=None, whole=16, number=16, groups=lambda weights, size: weights / size,
                    over=None) -> float:  # fmt: skip
    """Count the bits of a matrix: codes, scales and zero points of groups, kept columns and their numbers.

    coded, scaled: weights with a code, and in groups; whole: bits of a kept weight; over: what divides.
    """
    rounded = rows * (columns - kept)
    each = part + (bits if zero is None else zero)
    held = groups(scaled or rounded, size) * each + kept * (rows * whole + number)
    return ((coded or rounded) * bits + held) / (over or rows * columns)


WRONG = (
    *slips("Each group of the rounded columns stores a 16-bit scale and a zero point of `bits` bits.",
           no_scales=partial(bits_per_weight, part=0, zero=0), no_scale=partial(bits_per_weight, part=0)),
    *slips("The grid is asymmetric: a zero point a group.", no_zero_point=partial(bits_per_weight, zero=0)),
    *slips("A zero point is a code: it takes `bits` bits, not 16.",
           zero_of_16=partial(bits_per_weight, zero=16)),
    *slips("A reader must know which columns: 16 bits for each.",
           no_numbers=partial(bits_per_weight, number=0)),
    *slips("A kept column needs no code: count columns - kept.",
           kept_twice=lambda rows, columns, *case: bits_per_weight(
               rows, columns, *case, coded=rows * columns, scaled=rows * columns)),
    *slips("A kept column is in no group: divide the weights of the rounded columns by the group size.",
           groups_of_all=lambda rows, columns, *case: bits_per_weight(rows, columns, *case,
               scaled=rows * columns)),
    *slips("Whole columns are kept: one number for each, not one for each weight.",
           an_index_a_weight=lambda rows, *case: bits_per_weight(rows, *case, number=16 * rows)),
    *slips("A column has `rows` weights, each kept in 16 bits.",
           one_weight=lambda rows, *case: bits_per_weight(rows, *case, whole=16 / rows),
           kept_in_32=partial(bits_per_weight, whole=32)),
    *slips("Scales and numbers of columns take 16 bits each; count all in bits, none in bytes.",
           scale_of_32=partial(bits_per_weight, part=32),
           bytes_kept=partial(bits_per_weight, whole=2, number=2)),
    *slips("Columns are kept, not rows: a column has `rows` weights.",
           rows_kept=lambda rows, columns, *case: bits_per_weight(columns, rows, *case)),
    *slips("All weights of a matrix share its groups evenly: divide with /, not //.",
           groups_rounded_down=partial(bits_per_weight, groups=lambda weights, size: weights // size),
           groups_of_rows=lambda rows, *case: bits_per_weight(
               rows, *case, groups=lambda weights, size: rows * (weights // rows // size))),
    *slips("All weights of a matrix share its groups evenly: nothing is rounded up here.",
           groups_rounded_up=partial(bits_per_weight, groups=lambda weights, size: -(-weights // size)),
           groups_of_rows_up=lambda rows, *case: bits_per_weight(
               rows, *case, groups=lambda weights, size: -rows * (-weights // rows // size))),
    *slips("Those are the bits of the matrix: divide by all its weights, rows * columns.",
           total=partial(bits_per_weight, over=1),
           over_the_rounded=lambda rows, columns, kept, *case: bits_per_weight(
               rows, columns, kept, *case, over=rows * (columns - kept))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, bits_per_weight,
    WRONG,
    praise="One column in a hundred costs about an eighth of a bit: compare at equal bits, not at equal "
    "width.", tolerance=1e-7
)  # fmt: skip
