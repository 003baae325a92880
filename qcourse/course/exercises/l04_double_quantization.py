"""Exercise 04.double_quantization: the scales are numbers too, and can be rounded."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips
from qcourse.course.exercises.grids import grid_slips, largest, rounded


def cases() -> list[tuple]:
    """Return (absmax [n], block_size): positive block maxima, n a multiple of block_size; no ties."""
    draw = torch.Generator().manual_seed(41)
    return [
        (torch.tensor([0.11, 0.14, 0.13, 0.19]), 2),
        (0.05 + 0.02 * torch.rand(64, generator=draw), 16),
        (0.05 + 0.2 * torch.rand(32, generator=draw) ** 4, 8),
    ]


def reference(absmax: Tensor, size: int) -> Tensor:
    """Take off the mean, round each block to 127 steps of its own largest magnitude, and undo both."""
    blocks = absmax.double().reshape(-1, size)
    step = (blocks - blocks.mean()).abs().amax(1, keepdim=True) / 127
    return (((blocks - blocks.mean()) / step).round() * step + blocks.mean()).flatten()


def stored(absmax: Tensor, block: int, mean=Tensor.mean, added=torch.add, axis: int = 1, **grid) -> Tensor:
    """Do so with something in place of the mean, of adding it again, or of the grid."""
    blocks = absmax.reshape(-1, block)
    return added(rounded(blocks - mean(blocks), axis, 127, **grid), mean(blocks)).flatten()


def smallest(blocks: Tensor) -> Tensor:
    """Return the smallest of each block."""
    return blocks.amin(1, keepdim=True)


WRONG = (
    *grid_slips(stored),
    *slips("Maxima are all positive: without taking off their mean, half of the codes are never used.",
           no_mean=partial(stored, mean=lambda blocks: 0.0),
           no_mean_one_block=lambda absmax, size: stored(absmax, len(absmax), mean=lambda blocks: 0.0)),
    *slips("Take off the mean of all maxima: it lies in the middle of them.",
           median=partial(stored, mean=Tensor.median), least=partial(stored, mean=Tensor.min)),
    *slips("One mean is stored for all maxima, not one a block.",
           mean_of_each_block=partial(stored, mean=lambda blocks: blocks.mean(1, keepdim=True))),
    *slips("Add the mean again at the end: it is stored.",
           mean_not_added=partial(stored, added=lambda values, mean: values)),
    *slips("Those are codes: multiply them by their step, and add the mean.",
           codes_alone=partial(stored, back=lambda codes, step: codes, added=lambda values, mean: values)),
    *slips("Take the step from the differences: the mean comes off first.",
           step_before_the_mean=lambda absmax, size: stored(
               absmax, size, size=lambda differences, axis: largest(differences + absmax.mean(), axis))),
    *slips("The mean is added after the codes are multiplied by their step.",
           mean_added_to_codes=lambda absmax, size: stored(
               absmax, size, back=lambda codes, step: (codes + absmax.mean()) * step,
               added=lambda values, _: values)),
    *slips("Each block of block_size maxima has its own step; one outlier should not coarsen all.",
           one_block=lambda absmax, size: stored(absmax, len(absmax))),
    *slips("A block is block_size maxima that follow each other: a row of reshape(-1, block_size), one step "
           "a row.", columns=partial(stored, axis=0),
           shape_turned=lambda absmax, size: stored(absmax, len(absmax) // size)),
    *slips("That is an asymmetric grid: asked are 127 steps on each side of the mean.",
           asymmetric=partial(stored, mean=smallest, last=lambda top: 255)),
    *slips("Nothing is rounded: these are still 32-bit maxima.", nothing=lambda absmax, size: absmax),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="8 bits a scale instead of 32: from 0.5 to 0.127 bits a weight in blocks of 64.", tolerance=1e-6
)  # fmt: skip
