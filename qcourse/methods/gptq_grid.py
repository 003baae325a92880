"""Scales and zero points inside GPTQ: of one group as it is when its turn comes, or of all groups first."""

from torch import Tensor

from qcourse.numerics.affine import grid, range_of, search_range, split_groups


def grid_of_group(
    columns: Tensor, importance: Tensor, bits: int, symmetric: bool, search: bool
) -> tuple[Tensor, Tensor]:
    """Return scale and zero point [out] of a group of weight columns, given as rows [group, out].

    importance: [group], what a squared error in each column costs once the others have made up for it,
    1 / U[j, j]**2 (Frantar et al. 2022, equation 2).
    """
    groups = columns.T.contiguous()  # [out, group]
    low, high = range_of(groups)
    if search:
        low, high = search_range(groups, low, high, bits, symmetric, importance)
    return grid(low, high, bits, symmetric)


def static_grids(
    weight: Tensor, bits: int, group: int, symmetric: bool, importance: Tensor, search: bool
) -> tuple[Tensor, Tensor]:
    """Return scale and zero point [n_groups, out] of all groups of the unchanged weight [out, in]."""
    groups = split_groups(weight.float(), group)
    low, high = range_of(groups)
    if search:
        low, high = search_range(groups, low, high, bits, symmetric, importance.reshape(1, -1, group))
    scale, zero_point = grid(low, high, bits, symmetric)
    return scale.T.contiguous(), zero_point.T.contiguous()
