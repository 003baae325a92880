"""Exercise 13.straight_through: the gradient that reaches a weight through its rounding."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (w [out, in], scale, x [n, in], y [n, out]); codes are -4 .. 3, and some weights lie beyond."""
    draw = torch.Generator().manual_seed(13)
    found = []
    for rows, columns, n in ((1, 2, 4), (3, 4, 16), (6, 8, 32)):
        w, x = torch.randn(rows, columns, generator=draw), torch.randn(n, columns, generator=draw)
        w[0, 0] = 3.3  # above the largest level, 3 * scale
        y = x @ (w + 0.5 * torch.randn(rows, columns, generator=draw)).T
        found.append((w, 0.37, x, y))
    return found


def output_slope(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of mean((x @ weight.T - y)**2) in the weight."""
    error = x @ weight.T - y
    return 2 * error.T @ x / error.numel()


def reference(w: Tensor, scale: float, x: Tensor, y: Tensor) -> Tensor:
    """Take the gradient at the rounded weight, and let it through where the grid reaches."""
    codes = (w / scale).round()
    return output_slope(codes.clamp(-4, 3) * scale, x, y) * ((codes >= -4) & (codes <= 3))


def through(w: Tensor, scale: float, x: Tensor, y: Tensor, code=torch.round, ends: tuple = (-4, 3),
            mask: tuple | None = None, at=lambda w, codes, scale: codes * scale,
            whole=torch.round) -> Tensor:  # fmt: skip
    """Return the slope at `at`, codes cut off at `ends`, where codes lie inside `mask`."""
    codes, (low, high) = code(w / scale), mask or ends
    inside = (whole(w / scale) >= low) & (whole(w / scale) <= high)
    return output_slope(at(w, codes.clamp(*ends), scale), x, y) * inside


def latent(w: Tensor, codes: Tensor, scale: float) -> Tensor:
    """Return the weight that is not rounded."""
    return w


NO_END, ANY = float("inf"), (-float("inf"), float("inf"))
WRONG = (
    *slips("Your gradient is zero: a staircase is flat almost everywhere, and autograd knows it. Pretend in "
           "the backward pass that rounding returned its input.",
           true_gradient=lambda w, scale, x, y: torch.zeros_like(w)),
    *slips("The loss must be that of the rounded weight: only the backward pass pretends. If you wrote a + "
           "(b - a).detach(), which of the two is the value, and which gets the gradient?",
           at_the_latent=partial(through, at=latent, mask=ANY),
           at_the_latent_masked=partial(through, at=latent)),
    *slips("A weight beyond the last level is cut off there: moving it changes nothing, and it would drift "
           "on for ever. Its gradient is 0.",
           everywhere=partial(through, mask=ANY), only_above=partial(through, mask=(-NO_END, 3)),
           only_below=partial(through, mask=(-4, NO_END))),
    *slips("The outermost levels are levels: a weight that rounds to -4 or 3 gets its gradient.",
           ends_left_out=partial(through, mask=(-3, 2))),
    *slips("A weight that rounds to the last level is inside: compare the rounded codes with -4 and 3.",
           compared_before_rounding=partial(through, whole=torch.positive)),
    *slips("That is the gradient in w / scale. By the chain rule the factor `scale` of the forward pass and "
           "its inverse cancel in w.", in_steps=lambda w, scale, x, y: scale * through(w, scale, x, y)),
    *slips("Three bits have eight codes, -4 to 3: clamp after rounding, or you train for a grid that no "
           "file holds.",
           unclamped=partial(through, ends=ANY), unclamped_masked=partial(through, ends=ANY, mask=(-4, 3))),
    *slips("Three bits have eight codes, -4 to 3: yours are others.",
           symmetric=partial(through, ends=(-3, 3)),
           nine_codes=partial(through, ends=(-4, 4)), unsigned=partial(through, ends=(0, 7))),
    *slips("Round to the nearest code: floor and trunc go one way.",
           floor=partial(through, code=torch.floor), cut_off=partial(through, code=torch.trunc)),
    *slips("The mask is turned round: weights inside the grid get a gradient, those beyond none.",
           mask_turned=lambda w, *case: through(w, *case, mask=ANY) - through(w, *case)),
    *slips("That is the weight after a step: return the gradient.",
           stepped=lambda w, *case: w - through(w, *case)),
    *slips("The layer computes with weights: multiply codes by the scale.",
           codes=partial(through, at=lambda w, codes, scale: codes)),
    *slips("The loss is a mean over all its entries: divide by their number, and mind the 2 of the square.",
           sum_of_squares=lambda w, scale, x, y: y.numel() * through(w, scale, x, y),
           mean_over_inputs=lambda w, scale, x, y: y.shape[1] * through(w, scale, x, y),
           no_two=lambda w, scale, x, y: through(w, scale, x, y) / 2),
    *slips("That is the loss: its gradient in w is asked.",
           loss=lambda w, scale, x, y: (x @ ((w / scale).round().clamp(-4,
               3) * scale).T - y).square().mean()),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="A gradient that calculus denies: right in direction inside the grid, and silent beyond its ends."
)  # fmt: skip
