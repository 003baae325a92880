"""Which range a group's levels should span: shrunk below its extremes where the finer steps are worth it.

Source: the clipping search of GPTQ's --mse and of AWQ (arXiv 2306.00978, section 4.1).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from qcourse.numerics.grid import Grid, range_of

SHRINKS = tuple(1 - 0.05 * step for step in range(11))
PART = 2**20  # values handled at once: what is kept meanwhile stays in cache

ErrorOf = Callable[..., Tensor]  # of a change of the groups, which it may overwrite, and `some`, their slice


@torch.no_grad()
def search_range(
    groups: Tensor, bits: int, symmetric: bool, importance: Tensor | None = None, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Return the range of each group, low and high [out, n_groups], with the least squared error.

    groups: [out, n_groups, size]; importance: what a squared error in each column costs, [1, n_groups, size];
    settings: `convention` and `storable` of `Grid.spanning`.
    """

    def error_of(change: Tensor, some: slice) -> Tensor:
        squares = change.square_()
        return (squares if importance is None else squares.mul_(importance)).sum(-1)

    return best_range(groups, error_of, bits=bits, symmetric=symmetric, **settings)


@torch.no_grad()
def search_range_by_output(
    groups: Tensor, hessian: Tensor, bits: int, symmetric: bool
) -> tuple[Tensor, Tensor]:
    """Return the range of each group, low and high [n_groups, out], with the least output error d H d^T.

    groups: [n_groups, out, size]; hessian: each group's block of the mean of x x^T, [n_groups, size, size].
    """

    def error_of(change: Tensor, some: slice) -> Tensor:
        return (change @ hessian[some]).mul_(change).sum(-1)

    return best_range(groups, error_of, bits=bits, symmetric=symmetric)


def best_range(groups: Tensor, error_of: ErrorOf, **settings: Any) -> tuple[Tensor, Tensor]:
    """Return the range of each group times the one of SHRINKS with the least error, a few rows at a time."""
    low, high = range_of(groups)
    rows, kept = max(1, PART // groups[0].numel()), []
    for start in range(0, len(groups), rows):
        some = slice(start, start + rows)
        part = groups[some], low[some], high[some]
        kept.append(best_shrink(*part, partial(error_of, some=some), settings))
    shrink = torch.cat(kept)
    return low * shrink, high * shrink


def best_shrink(
    groups: Tensor, low: Tensor, high: Tensor, error_of: ErrorOf, settings: dict[str, Any]
) -> Tensor:
    """Return the factor of each range with the least error of rounding; shaped like `low`."""
    least, best, change = torch.full_like(low, torch.inf), torch.ones_like(low), torch.empty_like(groups)
    for shrink in SHRINKS:
        grid = Grid.spanning(low * shrink, high * shrink, **settings)[..., None]
        total = error_of(grid.round(groups, out=change).sub_(groups))
        best = torch.where(total < least, shrink, best)
        least = torch.minimum(total, least)
    return best
