"""Exercise 13.learned_rounding: signed gradient descent on the offsets with which weights are rounded."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (w [out, in], scale, hessian [in, in], steps, rate)."""
    draw = torch.Generator().manual_seed(31)
    found = []
    for rows, columns, steps, rate in ((1, 3, 4, 0.21), (3, 6, 12, 0.13), (16, 12, 30, 0.31)):
        x = torch.randn(3 * columns, columns, generator=draw) @ torch.randn(columns, columns, generator=draw)
        w = 2 * torch.randn(rows, columns, generator=draw)
        found.append((w, 0.31, x.T @ x / len(x), steps, rate))
    return found


def learned(w: Tensor, scale: float, hessian: Tensor, steps: int, rate: float, *, move=torch.sign,
            limit=lambda offsets: offsets.clamp(-0.5, 0.5), kept=lambda w, scale, offsets: (
                (w / scale + offsets).round() * scale)) -> Tensor:  # fmt: skip
    """Run the loop; move: of the gradient; limit: of the offsets; kept: weights whose change counts."""
    offsets = torch.zeros_like(w)
    for _ in range(steps):
        gradient = 2 * scale * (kept(w, scale, offsets) - w) @ hessian
        offsets = limit(offsets - rate * move(gradient))
    return (w / scale + offsets).round()


WRONG = (
    *slips("These are the codes of plain rounding: are the offsets added before you round, in the last line "
           "too?", plain=lambda w, scale, *_: (w / scale).round()),
    *slips("The error grows along the gradient: subtract its sign.",
           uphill=partial(learned, move=lambda gradient: -gradient.sign())),
    *slips("Offsets beyond half a step let a weight end two levels away. Clamp them to [-0.5, 0.5].",
           unlimited=partial(learned, limit=torch.positive),
           a_whole_step=partial(learned, limit=lambda offsets: offsets.clamp(-1, 1))),
    *slips("An offset may round a weight down as well: clamp to [-0.5, 0.5].",
           upward_only=partial(learned, limit=lambda offsets: offsets.clamp(0, 0.5)),
           half_the_range=partial(learned, limit=lambda offsets: offsets.clamp(-0.25, 0.25))),
    *slips("Use the sign of the gradient: its size depends on how strong the inputs of the layer are, and "
           "one rate would not do for all columns.", by_size=partial(learned, move=torch.positive),
           by_size_of_change=lambda w, scale, *case: learned(w, scale, *case,
           move=lambda gradient: gradient / scale),
           by_half_size=lambda w, scale, *case: learned(w, scale, *case, move=lambda g: g / scale / 2)),
    *slips("You used the diagonal of H alone. Then each weight's best code is the nearest, and nothing is "
           "learned: use change @ hessian.",
           each_alone=lambda w, scale, hessian, *case: learned(w, scale, hessian.diag().diag(), *case)),
    *slips("The change is that of the weights as they are now, rounded with their offsets.",
           without_offsets=partial(learned, kept=lambda w, scale, offsets: (w / scale).round() * scale)),
    *slips("Offsets are in steps: add them to w / scale, not to w.",
           offsets_in_weights=partial(learned, kept=lambda w, scale, offsets: (
               (w + offsets) / scale).round() * scale)),
    *slips("Count the steps: exactly `steps`, and the offsets go on from where the last left them.",
           one_step_less=lambda w, scale, hessian, steps, rate: learned(w, scale, hessian, steps - 1, rate),
           one_step=lambda w, scale, hessian, steps, rate: learned(w, scale, hessian, 1, rate)),
    *slips("Every weight has a gradient of its own: the sign of each entry, not of their sum.",
           one_sign=partial(learned,
           move=lambda gradient: gradient.sum(0, keepdim=True).sign().expand_as(gradient))),
    *slips("Return the codes themselves, not what learning changed.",
           changes=lambda w, scale, *case: learned(w, scale, *case) - (w / scale).round()),
    *slips("Codes are whole numbers: round w / scale + offsets.", quotients=lambda w, scale, *_: w / scale),
)  # fmt: skip

EXERCISE = Exercise(
    cases, learned, WRONG,
    praise="No weight moved by more than a level, and yet the layer's output did: that is learned rounding."
)  # fmt: skip
