"""Exercise 07.best_exponent: AWQ's search, on plain symmetric rows."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (x [tokens, in], w [out, in], bits); a few inputs are large and their columns small."""
    draw = torch.Generator().manual_seed(73)
    found = []
    for tokens, inside, factor in ((16, 16, 12.0), (32, 32, 6.0), (40, 24, 30.0)):
        size = torch.ones(inside, dtype=torch.float64)
        size[: inside // 8] = factor
        x = torch.randn(tokens, inside, generator=draw, dtype=torch.float64) * size
        found.append((x, torch.randn(8, inside, generator=draw, dtype=torch.float64) / size.sqrt(), 3))
    draw.manual_seed(0)  # here 1 is the best, though more would be better still
    size = torch.logspace(0, 1.3, 16, dtype=torch.float64)
    x = torch.randn(24, 16, generator=draw, dtype=torch.float64) * size
    found.append((x, torch.randn(8, 16, generator=draw, dtype=torch.float64) / size**1.5, 3))
    alike = torch.randn(
        12, 8, generator=draw, dtype=torch.float64
    ).sign()  # no column is larger: all are equal
    return [*found, (alike, torch.randn(4, 8, generator=draw, dtype=torch.float64), 3)]


def search(x: Tensor, w: Tensor, bits: int, size=lambda x: x.abs().mean(0), back: bool = True,
           output: bool = True, tried: int = 21, steps: int = 20, error=torch.square, total=torch.sum,
           exact: float = 1.0, seen=lambda x, s: x,
           chosen=lambda errors, n: errors.index(min(errors)) / n) -> float:  # fmt: skip
    """Return the exponent of i / 20 with the least squared output error; the first of equals.

    size: of inputs; output: compare outputs, not weights; error, total: of a change; exact: of w, taken off;
    seen: what the change is multiplied by; chosen: from the list of errors.
    """
    errors = []
    for i in range(tried):
        s = size(x) ** (i / steps)
        step = (w * s).abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        change = (w * s / step).round() * step / (s if back else 1) - exact * w
        errors.append(float(total(error((seen(x, s) @ change.T) if output else change))))
    return chosen(errors, steps)


WRONG = (
    *slips("You compare weights. What counts is the output, x @ change.T: there a large input weighs its "
           "column.", weight_error=partial(search, output=False)),
    *slips("Divide by s after rounding, or scaling itself counts as error.",
           not_undone=partial(search, back=False)),
    *slips("Yours is always 0, plain rounding: is w scaled up where x is large, w * s, then / s, and the "
           "least error taken?", divided=partial(search, size=lambda x: 1 / x.abs().mean(0))),
    *slips("Try 21 exponents, 0 to 1 in steps of 1/20: you stop at 0.5.",
           stopped_early=partial(search, tried=11)),
    *slips("Try 21 exponents, 0 to 1 in steps of 1/20: yours are coarser.",
           tenths=partial(search, tried=11, steps=10), quarters=partial(search, tried=5, steps=4)),
    *slips("The last exponent to try is 1 itself: range(21), not range(20).",
           one_left_out=partial(search, tried=20)),
    *slips("Nothing is searched: at 1 a column may set its row's step.", always_one=lambda x, w, bits: 1.0),
    *slips("Nothing is searched: the best exponent is not the same for all layers.",
           always_half=lambda x, w, bits: 0.5),
    *slips("s comes from the *mean magnitude* of each input over the tokens.",
           maxima=partial(search, size=lambda x: x.abs().amax(0)),
           sums=partial(search, size=lambda x: x.abs().sum(0)),
           mean_squares=partial(search, size=lambda x: x.square().mean(0).sqrt()),
           signed_means=partial(search, size=lambda x: x.mean(0).abs())),
    *slips("s comes from the inputs, not from the weight.",
           of_the_weight=lambda x, w, bits: search(x, w, bits, size=lambda x: w.abs().mean(0))),
    *slips("One number for all columns scales nothing: take the mean over tokens, axis 0.",
           one_size=partial(search, size=lambda x: x.abs().mean())),
    *slips("Square the errors before you add them up: errors of opposite sign must not cancel.",
           signed_sum=partial(search, error=torch.positive)),
    *slips("The smallest *squared* error is asked: sum the squares, no other measure.",
           magnitudes=partial(search, error=torch.abs),
           largest_error=partial(search, error=torch.abs, total=torch.max)),
    *slips("The change is that of the weight the model computes with: multiply it by x as it is, not by x / "
           "s.", inputs_divided=partial(search, seen=torch.div)),
    *slips("That is the error: return its exponent.",
           least_error=partial(search, chosen=lambda errors, _: min(errors))),
    *slips("Compare with the exact output: the change is the rounded weight minus w.",
           output_alone=partial(search, exact=0.0)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, search,
    WRONG,
    praise="One number a layer, no gradient, no inverse: this is AWQ's search.", tolerance=1e-6
)  # fmt: skip
