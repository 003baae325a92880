"""Weights of every awkward kind, for the property tests of this room."""

import torch
from torch import Tensor

KINDS = ("normal", "zeros", "zero rows", "constant", "denormal", "smallest", "one outlier", "one-sided")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))


def sample(
    kind: str, rows: int, columns: int, seed: int, dtype=torch.float32, outlier: float = 3e4
) -> Tensor:
    """Return a weight [rows, columns]; "denormal" is of its dtype, "smallest" zero and its neighbours."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    limits = torch.finfo(dtype)
    if kind == "zeros":
        weight.zero_()
    if kind == "zero rows":
        weight[::2] = 0
    if kind == "constant":
        weight.fill_(0.37)
    if kind == "denormal":
        weight *= limits.smallest_normal / 4
    if kind == "smallest":
        weight = weight.round().sign() * limits.smallest_normal * limits.eps
    if kind == "one outlier":
        weight[0, 0] = -outlier if seed % 2 else outlier
    if kind == "one-sided":
        weight = weight.abs() + 1
    return weight.to(dtype)


def spoiled(bad: float, shape: tuple[int, int]) -> tuple[Tensor, str]:
    """Return a weight with one value that is not finite and the words that must name it."""
    weight = torch.ones(shape)
    weight[-1, 1] = bad
    return weight, "1 NaN and 0 infinite" if bad != bad else "0 NaN and 1 infinite"
