"""The order in which GPTQ visits columns, and the way back to the order they are stored in."""

import torch
from torch import Tensor

from qcourse.numerics import QuantizedWeight


def column_order(diagonal: Tensor, group: int, act_order: str) -> Tensor:
    """Return the indices of columns in the order of visiting, int64 [in].

    The columns with the largest mean x**2 go first, while many others can still make up for their errors.
    "group-aware" sorts whole groups by their sum and the columns inside each, so that groups stay together.
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
    codes: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    order: Tensor,
    bits: int,
    group_size: int,
    symmetric: bool,
    act_order: str,
) -> QuantizedWeight:
    """Put columns (and groups) back where the file stores them.

    codes: uint8 [out, in] as visited; scale, zero_point: float32 [out, n_groups], by visit, or by place for
    "static". Only "full" needs g_idx; "group-aware" moves whole groups back.
    """
    back = torch.argsort(order)
    group = codes.shape[1] // scale.shape[1]
    g_idx = None
    if act_order == "group-aware":
        visited_groups = order.reshape(-1, group)[:, 0] // group
        scale, zero_point = (
            scale[:, torch.argsort(visited_groups)],
            zero_point[:, torch.argsort(visited_groups)],
        )
    if act_order == "full" and scale.shape[1] > 1:
        g_idx = (back // group).to(torch.int32)
    return QuantizedWeight(
        codes.T[back].T.contiguous(),
        scale.contiguous(),
        zero_point.to(torch.int32).contiguous(),
        bits,
        group_size,
        symmetric=symmetric,
        g_idx=g_idx,
    )
