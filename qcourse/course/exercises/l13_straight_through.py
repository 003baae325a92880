"""Exercise 13.straight_through: the gradient that reaches a weight through its rounding."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


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


def rounded(w: Tensor, scale: float) -> Tensor:
    """Return the weights that codes -4 .. 3 stand for."""
    return (w / scale).round().clamp(-4, 3) * scale


def inside(w: Tensor, scale: float) -> Tensor:
    """Return 1 where rounding is not cut off at an end of the grid, else 0."""
    codes = (w / scale).round()
    return ((codes >= -4) & (codes <= 3)).to(w.dtype)


def reference(w: Tensor, scale: float, x: Tensor, y: Tensor) -> Tensor:
    """Take the gradient at the rounded weight, and let it through where the grid reaches."""
    return output_slope(rounded(w, scale), x, y) * inside(w, scale)


def true_gradient(w: Tensor, scale: float, x: Tensor, y: Tensor) -> Tensor:
    """Your gradient is zero: a staircase is flat almost everywhere, and autograd knows it. Pretend in the
    backward pass that rounding returned its input.
    """
    return torch.zeros_like(w)


def at_the_latent(w: Tensor, scale: float, x: Tensor, y: Tensor) -> Tensor:
    """The loss must be that of the rounded weight: only the backward pass pretends. If you wrote a + (b -
    a).detach(), which of the two is the value, and which gets the gradient?
    """
    return output_slope(w, x, y)


def everywhere(w: Tensor, scale: float, x: Tensor, y: Tensor) -> Tensor:
    """A weight beyond the last level is cut off there: moving it changes nothing, and it would drift on for
    ever. Its gradient is 0.
    """
    return output_slope(rounded(w, scale), x, y)


def in_steps(w: Tensor, scale: float, x: Tensor, y: Tensor) -> Tensor:
    """That is the gradient in w / scale. By the chain rule the factor `scale` of the forward pass and its
    inverse cancel in w.
    """
    return scale * reference(w, scale, x, y)


def unclamped(w: Tensor, scale: float, x: Tensor, y: Tensor) -> Tensor:
    """Three bits have eight codes, -4 to 3: clamp after rounding, or you train for a grid that
    no file holds.
    """
    return output_slope((w / scale).round() * scale, x, y)


EXERCISE = Exercise(
    cases, reference, (true_gradient, at_the_latent, everywhere, in_steps, unclamped),
    praise="A gradient that calculus denies: right in direction inside the grid, and silent beyond its ends."
)  # fmt: skip
