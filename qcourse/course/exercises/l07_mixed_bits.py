"""Exercise 07.mixed_bits: what keeping a few columns in 16 bits costs."""

from qcourse.course.check import Exercise, slip


def cases() -> list[tuple]:
    """Return (rows, columns, kept, bits, group_size)."""
    return [
        (64, 128, 0, 3, 128),
        (64, 128, 16, 4, 32),
        (3, 7, 2, 4, 4),
        (256, 512, 5, 3, 128),
        (4096, 4096, 41, 3, 128),
    ]


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


def whole_groups(rows: int, columns: int, kept: int, bits: int, size: int, down: bool) -> float:
    """Count whole groups only, rounded down or up."""
    rounded = rows * (columns - kept)
    groups = rounded // size if down else -(-rounded // size)
    return bits_per_weight(rows, columns, kept, bits, 2**60) + groups * (16 + bits) / (rows * columns)


def no_scales(rows: int, columns: int, kept: int, bits: int, size: int) -> float:
    """Each group of the rounded columns stores a 16-bit scale and a zero point of `bits` bits."""
    return bits_per_weight(rows, columns, kept, bits, 2**60)


def no_zero_point(rows: int, columns: int, kept: int, bits: int, size: int) -> float:
    """The grid is asymmetric: a zero point a group."""
    return bits_per_weight(rows, columns, kept, bits, size, zero=False)


def no_numbers(rows: int, columns: int, kept: int, bits: int, size: int) -> float:
    """A reader must know which columns: 16 bits for each."""
    return bits_per_weight(rows, columns, kept, bits, size, index=0)


def kept_twice(rows: int, columns: int, kept: int, bits: int, size: int) -> float:
    """A kept column needs no code: count columns - kept."""
    return bits_per_weight(rows, columns, kept, bits, size, twice=True)


def an_index_a_weight(rows: int, columns: int, kept: int, bits: int, size: int) -> float:
    """Whole columns are kept: one number for each, not one for each weight."""
    return bits_per_weight(rows, columns, kept, bits, size, 16 * rows)


SLIPS = (
    slip("groups rounded down", "All weights of a matrix share its groups evenly: divide with /, not //.",
         lambda rows, columns, kept, bits, size: whole_groups(rows, columns, kept, bits, size, down=True)),
    slip("groups rounded up", "All weights of a matrix share its groups evenly: nothing is rounded up here.",
         lambda rows, columns, kept, bits, size: whole_groups(rows, columns, kept, bits, size, down=False)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, bits_per_weight,
    (no_scales, no_zero_point, no_numbers, kept_twice, an_index_a_weight, *SLIPS),
    praise="One column in a hundred costs about an eighth of a bit: compare at equal bits, not at equal "
    "width.", tolerance=1e-7
)  # fmt: skip
