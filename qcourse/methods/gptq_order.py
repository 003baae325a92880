"""The order in which GPTQ visits columns, and the way back to the order they are stored in."""

import torch
from torch import Tensor

from qcourse.numerics import Grid, QuantizedWeight


def column_order(diagonal: Tensor, group: int, act_order: str) -> Tensor:
    """Return the indices of columns in the order of visiting, int64 [in].

    The columns with the largest mean x**2 go first, while many others can still make up for their errors.
    "none": as they stand; "static" and "full": by falling diagonal of H, for "full" (desc_act) with groups
    formed in that order; "group-aware": whole groups by their sum, then the columns inside each.
    Raises ValueError for an unknown order. Source of "group-aware": GPTQModel 7, act_group_aware.
    """
    if act_order == "none":
        return torch.arange(len(diagonal), device=diagonal.device)
    if act_order in ("static", "full"):
        return torch.argsort(diagonal, descending=True, stable=True)
    if act_order != "group-aware":
        raise ValueError(f"unknown act_order {act_order!r}; known are none, static, group-aware, full")
    groups = diagonal.reshape(-1, group)
    inside = torch.argsort(groups, dim=1, descending=True, stable=True)
    first = torch.argsort(groups.sum(1), descending=True, stable=True)
    return (inside + group * torch.arange(len(groups), device=diagonal.device)[:, None])[first].reshape(-1)


def restore_order(
    codes: Tensor, grid: Grid, order: Tensor, group_size: int, act_order: str, damping: float | None
) -> QuantizedWeight:
    """Put columns (and groups) back where the file stores them.

    codes: [out, in] as visited; grid: [out, n_groups], by visit, or by place for "static". Only "full" needs
    g_idx; "group-aware" moves whole groups back.
    """
    back, n_groups = torch.argsort(order), grid.scale.shape[1]
    group, g_idx = codes.shape[1] // n_groups, None
    if act_order == "group-aware":
        visited = order.reshape(-1, group)[:, 0] // group
        grid = grid[:, torch.argsort(visited)]
    if act_order == "full" and n_groups > 1:
        g_idx = (back // group).to(torch.int32)
    return QuantizedWeight(
        codes.T[back].T.to(torch.uint8).contiguous(),
        grid.scale.contiguous(),
        grid.zero_point.to(torch.int32).contiguous(),
        grid.bits,
        group_size,
        symmetric=grid.symmetric,
        g_idx=g_idx,
        damping=damping,
    )
