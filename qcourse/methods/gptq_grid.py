"""Scales and zero points inside GPTQ: of all groups first, or of one as it is when its turn comes."""

from torch import Tensor

from qcourse.numerics.grid import Grid, range_of, split_groups
from qcourse.numerics.range_search import search_range


def grids_of(
    weight: Tensor, bits: int, group: int, symmetric: bool, importance: Tensor, search: bool
) -> tuple[Tensor, Tensor]:
    """Return scale and zero point [n_groups, out] of the groups of weight [out, in].

    importance: [in], what a squared error in each column costs: the Hessian's diagonal, or once the other
    columns have made up for it R[j, j]**2 (1 / U[j, j]**2 in Frantar et al. 2022, equation 2).
    """
    groups = split_groups(weight.float(), group)
    costs = importance.reshape(1, -1, group)
    low, high = search_range(groups, bits, symmetric, costs) if search else range_of(groups)
    grid = Grid.spanning(low, high, bits, symmetric)
    return grid.scale.T.contiguous(), grid.zero_point.T.contiguous()
