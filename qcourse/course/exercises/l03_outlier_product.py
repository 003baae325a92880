"""Exercise 03.outlier_product: LLM.int8()'s decomposition."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slip


def cases() -> list[tuple]:
    """Return (x [tokens, in], w [out, in], threshold); one or more features reach it, once none."""
    draw = torch.Generator().manual_seed(32)
    found = []
    for tokens, inside, outside, large in ((2, 4, 3, 1), (6, 24, 5, 3), (3, 8, 4, 0)):
        x, w = torch.randn(tokens, inside, generator=draw), torch.randn(outside, inside, generator=draw)
        x[0, :large], x[1, :large] = -40.0, 0.9
        x[0, 1:large] = 30.0
        x[1, inside - 1] = 6.0 if large > 1 else 0.5  # just reaches the threshold
        w[:1, :large] = 4.0  # sets its row's step unless the columns are split first
        found.append((x, w, 6.0))
    return found


def int8(values: Tensor) -> Tensor:
    """Round each row to 127 steps of its absmax, float64."""
    step = values.double().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (values.double() / step).round() * step


def product(
    x: Tensor, w: Tensor, threshold: float, apart: bool = True, round_w: bool = True, signed: bool = False
) -> Tensor:
    """Multiply outlier features as they are and the others in int8, and add the two."""
    sizes = (x if signed else x.abs()).T.tolist()
    large = torch.tensor([any(value >= threshold for value in feature) for feature in sizes])
    rest = int8(x[:, ~large]) @ (int8(w[:, ~large]) if round_w else w[:, ~large].double()).T
    return rest + x[:, large].double() @ w[:, large].double().T if apart else rest


def by_entry(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """Keep whole features (columns of x), for every token, once any token reaches it."""
    large = x.abs() >= threshold
    return x.masked_fill(~large, 0).double() @ w.double().T + int8(x.masked_fill(large, 0)) @ int8(w).T


def steps_of_all(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """Split first: rounded together with the outlier, the other features still have its step."""
    large = (x.abs() >= threshold).any(0)
    return int8(x)[:, ~large] @ int8(w)[:, ~large].T + x[:, large].double() @ w[:, large].double().T


def shared_steps(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """Round the weight before its columns are split."""
    large = (x.abs() >= threshold).any(0)
    return int8(x[:, ~large]) @ int8(w)[:, ~large].T + x[:, large].double() @ w[:, large].double().T


def all_in_int8(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """Nothing is kept apart: features whose magnitude reaches the threshold are multiplied as they are."""
    return int8(x) @ int8(w).T


def dropped(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """The outlier features are left out: add their product."""
    return product(x, w, threshold, apart=False)


def signed_comparison(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """Compare the magnitude: a feature may be large and negative."""
    return product(x, w, threshold, signed=True)


def weight_not_rounded(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """The weight of the other features is int8 too."""
    return product(x, w, threshold, round_w=False)


SLIPS = (
    slip("above only", "A feature that reaches the threshold exactly belongs to the outliers as well.",
         lambda x, w, threshold: product(x, w, threshold * 1.000001)),
    slip("weight's steps of all",
         "Split first: the weight's steps too come from the columns that stay in int8.",
         lambda x, w, threshold: product(x, w, threshold) if not (x.abs() >= threshold).any() else
         shared_steps(x, w, threshold)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, product,
    (all_in_int8, dropped, signed_comparison, steps_of_all, by_entry, weight_not_rounded, *SLIPS),
    praise="The outliers no longer set anyone's step; a few columns are paid for in 16 bits.", tolerance=1e-4
)  # fmt: skip
