"""Exercise 10.weighted_fit: scale and minimum of a Q4_K sub-block by least squares, with importance."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (weights [32], codes [32] from 0 to 15, importance [32])."""
    draw = torch.Generator().manual_seed(103)
    found = []
    for size in (0.02, 1.0):
        block = torch.randn(32, generator=draw).double() * size
        low, step = block.min(), (block.max() - block.min()) / 15
        importance = torch.rand(32, generator=draw).double() ** 3 + 0.01
        found.append((block, ((block - low) / step).round(), importance))
    return found


def reference(block: Tensor, codes: Tensor, importance: Tensor) -> tuple:
    """Solve the weighted least squares for block = scale * codes - minimum; return (scale, minimum)."""
    columns, root = torch.stack([codes, -torch.ones_like(codes)], 1), importance.sqrt()
    solved = torch.linalg.lstsq(columns * root[:, None], (block * root)[:, None]).solution[:, 0]
    return float(solved[0]), float(solved[1])


def fit(
    block: Tensor,
    codes: Tensor,
    importance: Tensor,
    count: float | None = None,
    sign: int = -1,
    plus: int = -1,
) -> tuple:
    """Solve the two equations; count: for the sum of importance; sign, plus: in the numerators, in D."""
    v, c, x = float(importance.sum()) if count is None else count, importance @ codes, importance @ block
    cc, cx = importance @ codes**2, importance @ (codes * block)
    d = v * cc + plus * c**2
    return float((v * cx + sign * c * x) / d), float((c * cx + sign * cc * x) / d)


WRONG = (
    *slips("That is the range from smallest to largest: fit scale and minimum to the codes.",
           by_range=lambda w, c, v: (float(w.max() - w.min()) / 15, -float(w.min())),
           minimum_of_range=lambda w, c, v: (fit(w, c, v)[0], -float(w.min()))),
    *slips("All errors count alike in yours: multiply each square by its importance.",
           no_importance=lambda w, c, v: fit(w, c, torch.ones_like(v))),
    *slips("The importance weighs the squared error; if you scale rows of a system, scale by its root.",
           importance_squared=lambda w, c, v: fit(w, c, v**2)),
    *slips("The importance itself weighs the squared error, not its root.",
           root=lambda w, c, v: fit(w, c, v.sqrt())),
    *slips("Important weights count more: multiply by the importance, do not divide.",
           divided=lambda w, c, v: fit(w, c, 1 / v)),
    *slips("V is the sum of the importance; the number of weights is that of equal ones.",
           count_for_sum=lambda w, c, v: fit(w, c, v, len(v))),
    *slips("Only the scale is fitted: the minimum is free as well.",
           no_minimum=lambda w, c, v: (float(v @ (c * w) / (v @ c**2)), 0.0)),
    *slips("The minimum is subtracted: weight = scale * code - minimum, so it is positive for a negative "
           "weight.", sign_of_the_minimum=lambda w, c, v: (fit(w, c, v)[0], -fit(w, c, v)[1])),
    *slips("Check the signs: D = V CC - C^2, and both numerators are differences.",
           sums=lambda w, c, v: fit(w, c, v, sign=1), determinant=lambda w, c, v: fit(w, c, v, plus=1)),
    *slips("The importance belongs in all five sums, for the scale and for the minimum.",
           plain_minimum=lambda w, c, v: (fit(w, c, v)[0], fit(w, c, torch.ones_like(v))[1]),
           plain_scale=lambda w, c, v: (fit(w, c, torch.ones_like(v))[0], fit(w, c, v)[1])),
    *slips("The means in a weighted fit are weighted as well: V, C and X carry the importance.",
           plain_means=lambda w, c, v: (fit(w, c, v)[0], float(fit(w, c, v)[0] * c.mean() - w.mean())),
           slope_by_plain_means=lambda w, c, v: (
               float(v @ ((c - c.mean()) * (w - w.mean())) / (v @ (c - c.mean()) ** 2)), fit(w, c, v)[1])),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="llama.cpp does this for 21 choices of codes and keeps the best: that is Q4_K's quantizer.",
    tolerance=1e-6
)  # fmt: skip
