"""Scales and zero points inside GPTQ: of all groups first, or of one as it is when its turn comes."""

import torch
from torch import Tensor

from qcourse.numerics.checks import check_bits, check_finite
from qcourse.numerics.grid import Grid, range_of, split_groups
from qcourse.numerics.range_search import search_range


def check_input(weight: Tensor, hessian: Tensor, bits: int) -> None:
    """Raise ValueError for bits outside 2..8 and for values that are not finite."""
    check_bits(bits)
    check_finite(weight)
    check_finite(hessian)


def grid_of(weight: Tensor, importance: Tensor, group: int, bits: int, symmetric: bool, search: bool) -> Grid:
    """Return the grid [out, n_groups] of the groups of weight [out, in].

    importance: [in], what a squared error in each column costs: the Hessian's diagonal, or once the other
    columns have made up for it 1 / U[j, j]**2 (Frantar et al. 2022, equation 2).
    """
    groups = split_groups(weight, group)
    costs = importance.reshape(1, -1, group)
    low, high = search_range(groups, bits, symmetric, costs) if search else range_of(groups)
    return Grid.spanning(low, high, bits, symmetric)


def empty_grid(weight: Tensor, group: int, bits: int, symmetric: bool) -> Grid:
    """Return a grid [out, n_groups] for weight [out, in] whose groups are still to be chosen."""
    empty = weight.new_empty(weight.shape[0], weight.shape[1] // group, dtype=torch.float32)
    return Grid(empty, empty.clone(), bits, symmetric)
