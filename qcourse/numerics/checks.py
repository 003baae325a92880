"""What a tensor must satisfy before it is quantized, and the words when it does not."""

from torch import Tensor


def valid_group_sizes(columns: int) -> list[int]:
    """Return every group size that divides a row of `columns` weights, largest first."""
    return [size for size in range(columns, 1, -1) if columns % size == 0]


def columns_of_a_group(columns: int, group_size: int) -> int:
    """Return the width of a group; -1 means the whole row.

    Raises ValueError, naming sizes that work, if the group does not divide the row.
    """
    if group_size == -1:
        return columns
    if group_size < 1 or columns % group_size:
        usable = [size for size in valid_group_sizes(columns) if size <= 1024][:8]
        raise ValueError(
            f"group size {group_size} does not divide {columns} columns; these do: "
            f"{', '.join(map(str, usable))}, or -1 for one scale a row"
        )
    return group_size


def check_bits(bits: int) -> None:
    """Raise ValueError unless bits is 2 to 8."""
    if not 2 <= bits <= 8:
        raise ValueError(f"{bits} bits are outside 2..8")


def check_finite(weight: Tensor) -> None:
    """Raise ValueError, saying how many of which, when a tensor holds NaN or infinity."""
    total = weight.sum()  # one pass; a NaN or an infinity anywhere makes the sum not finite
    if total.isfinite():
        return
    nan, infinite = int(weight.isnan().sum()), int(weight.isinf().sum())
    if nan or infinite:
        raise ValueError(f"the tensor holds {nan} NaN and {infinite} infinite values of {weight.numel()}")
