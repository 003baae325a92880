"""Exercise 03.outlier_product: LLM.int8()'s decomposition."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


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
    x, w = torch.randn(2, 6, generator=draw), torch.randn(3, 6, generator=draw)
    x[:, 0], x[0, 1], w[1, 2] = 8.0, -30.0, 7.0  # large for both tokens; for the first only; in the weight
    return [*found, (x, w, 6.0)]


def int8(values: Tensor) -> Tensor:
    """Round each row to 127 steps of its absmax, float64."""
    if not values.numel():
        return values.double()
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


def split(x: Tensor, w: Tensor, large: Tensor, x_first=False, w_first=False, sign=1, kept=None) -> Tensor:
    """Multiply features apart; x_first, w_first: round before the split; kept: large columns come from it."""
    x8 = int8(x)[:, ~large] if x_first else int8(x[:, ~large])
    w8 = int8(w)[:, ~large] if w_first else int8(w[:, ~large])
    return x8 @ w8.T + sign * x[:, large].double() @ (w if kept is None else kept)[:, large].double().T


def reaching(x: Tensor, threshold: float) -> Tensor:
    """Mark the features [in] that some token reaches."""
    return (x.abs() >= threshold).any(0)


def by_entry(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """Keep whole features (columns of x), for every token, once any token reaches it."""
    large = x.abs() >= threshold
    return x.masked_fill(~large, 0).double() @ w.double().T + int8(x.masked_fill(large, 0)) @ int8(w).T


def weights_whole(x: Tensor, w: Tensor, threshold: float) -> Tensor:
    """Split first: the weight's steps too come from the columns that stay in int8."""
    large = reaching(x, threshold)
    return split(x, w, large, w_first=bool(large.any()))


WRONG = (
    by_entry, weights_whole,
    *slips("Nothing is kept apart: features that reach the threshold are multiplied as they are.",
           all_in_int8=lambda x, w, t: int8(x) @ int8(w).T),
    *slips("Nothing is rounded: only the outlier features stay as they are, the others go through int8.",
           all_exact=lambda x, w, t: x.double() @ w.double().T),
    *slips("The outlier features are left out: add their product.",
           dropped=lambda x, w, t: product(x, w, t, apart=False)),
    *slips("The other features are left out: add their int8 product.",
           outliers_only=lambda x, w, t: split(x, w, reaching(x, t)) - product(x, w, t, apart=False)),
    *slips("The two products are parts of one sum: add them.",
           subtracted=lambda x, w, t: split(x, w, reaching(x, t), sign=-1)),
    *slips("Outliers are in your int8 product and in the exact one: leave them out of the first.",
           counted_twice=lambda x, w, t: int8(x) @ int8(w).T + x[:, reaching(x, t)].double()
           @ w[:, reaching(x, t)].double().T),
    *slips("The other way round: the features that reach the threshold are exact, the others int8.",
           exchanged=lambda x, w, t: split(x, w, ~reaching(x, t))),
    *slips("Compare the magnitude: a feature may be large and negative.",
           signed_comparison=lambda x, w, t: product(x, w, t, signed=True)),
    *slips("A feature that reaches the threshold exactly belongs to the outliers as well.",
           above_only=lambda x, w, t: product(x, w, t * 1.000001)),
    *slips("One token that reaches the threshold is enough: any token, not their mean, nor all of them.",
           mean_over_tokens=lambda x, w, t: split(x, w, x.abs().mean(0) >= t),
           all_tokens=lambda x, w, t: split(x, w, (x.abs() >= t).all(0))),
    *slips("Outliers are features of the activations: look at x, not at the weight.",
           outliers_of_w=lambda x, w, t: split(x, w, (w.abs() >= t).any(0))),
    *slips("Outliers are features (columns of x), the same for all tokens: any over tokens, axis 0.",
           whole_tokens=lambda x, w, t: torch.where((x.abs() >= t).any(1)[:, None], x.double() @ w.double().T,
                                                    int8(x) @ int8(w).T)),
    *slips("Split first: rounded together with the outlier, the other features still have its step.",
           steps_of_all=lambda x, w, t: split(x, w, reaching(x, t), True, True),
           token_steps_of_all=lambda x, w, t: split(x, w, reaching(x, t), True)),
    *slips("The activations of the other features are int8 too.",
           activation_not_rounded=lambda x, w, t: x[:, ~reaching(x, t)].double() @ int8(w[:, ~reaching(x,
               t)]).T
           + x[:, reaching(x, t)].double() @ w[:, reaching(x, t)].double().T),
    *slips("The outlier features are multiplied as they are: yours are rounded too, only apart.",
           both_in_int8=lambda x, w, t: product(x, w, t, apart=False)
           + int8(x[:, reaching(x, t)]) @ int8(w[:, reaching(x, t)]).T),
    *slips("The weight of the other features is int8 too.",
           weight_not_rounded=lambda x, w, t: product(x, w, t, round_w=False)),
    *slips("An outlier feature meets its column of w as it is: do not round that column.",
           outlier_columns_rounded=lambda x, w, t: split(x, w, reaching(x, t), kept=int8(w))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, product,
    WRONG,
    praise="The outliers no longer set anyone's step; a few columns are paid for in 16 bits.", tolerance=1e-4
)  # fmt: skip
