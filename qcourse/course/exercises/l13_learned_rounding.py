"""Exercise 13.learned_rounding: signed gradient descent on the offsets with which weights are rounded."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (w [out, in], scale, hessian [in, in], steps, rate)."""
    draw = torch.Generator().manual_seed(31)
    found = []
    for rows, columns, steps, rate in ((1, 3, 4, 0.21), (3, 6, 12, 0.13), (16, 12, 30, 0.31)):
        x = torch.randn(3 * columns, columns, generator=draw) @ torch.randn(columns, columns, generator=draw)
        w = 2 * torch.randn(rows, columns, generator=draw)
        found.append((w, 0.31, x.T @ x / len(x), steps, rate))
    return found


def learned(w: Tensor, scale: float, hessian: Tensor, steps: int, rate: float, move, keep=None) -> Tensor:
    """Run the loop; move: (gradient, offsets) -> what is subtracted, times rate; keep: limits the offsets."""
    offsets = torch.zeros_like(w)
    for _ in range(steps):
        change = (w / scale + offsets).round() * scale - w
        offsets = offsets - rate * move(2 * scale * change @ hessian, offsets)
        offsets = (keep or (lambda value: value.clamp(-0.5, 0.5)))(offsets)
    return (w / scale + offsets).round()


def reference(w: Tensor, scale: float, hessian: Tensor, steps: int, rate: float) -> Tensor:
    """Return the codes after all steps."""
    return learned(w, scale, hessian, steps, rate, lambda gradient, _: gradient.sign())


def plain(w: Tensor, scale: float, hessian: Tensor, steps: int, rate: float) -> Tensor:
    """These are the codes of plain rounding: are the offsets added before you round, in the last line too?"""
    return (w / scale).round()


def uphill(w: Tensor, scale: float, hessian: Tensor, steps: int, rate: float) -> Tensor:
    """The error grows along the gradient: subtract its sign."""
    return learned(w, scale, hessian, steps, rate, lambda gradient, _: -gradient.sign())


def unlimited(w: Tensor, scale: float, hessian: Tensor, steps: int, rate: float) -> Tensor:
    """Offsets beyond half a step let a weight end two levels away. Clamp them to [-0.5, 0.5]."""
    return learned(w, scale, hessian, steps, rate, lambda gradient, _: gradient.sign(), lambda value: value)


def by_size(w: Tensor, scale: float, hessian: Tensor, steps: int, rate: float) -> Tensor:
    """Use the sign of the gradient: its size depends on how strong the inputs of the layer are, and one rate
    would not do for all columns.
    """
    return learned(w, scale, hessian, steps, rate, lambda gradient, _: gradient)


def each_alone(w: Tensor, scale: float, hessian: Tensor, steps: int, rate: float) -> Tensor:
    """You used the diagonal of H alone. Then each weight's best code is the nearest, and nothing is learned:
    use change @ hessian.
    """
    return reference(w, scale, hessian.diag().diag(), steps, rate)


EXERCISE = Exercise(
    cases, reference, (plain, uphill, unlimited, by_size, each_alone),
    praise="No weight moved by more than a level, and yet the layer's output did: that is learned rounding."
)  # fmt: skip
