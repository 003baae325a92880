"""Exercise 13.stored_moment: what an optimizer's moment is after it was kept in few bits."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (moment [n], book [levels], block): rising levels from 0 or -1 to 1; the last block is short."""
    draw = torch.Generator().manual_seed(8)
    found = []
    for n, block, signed in ((6, 4, True), (40, 16, False), (70, 32, True)):
        size = torch.logspace(-4, 0, n)
        moment = torch.randn(n, generator=draw) * size
        levels = torch.logspace(-3, 0, 8)
        book = torch.cat([-levels.flip(0), torch.zeros(1), levels]) if signed else levels
        found.append((moment if signed else moment.abs(), book, block))
    found[0][0][1] = -3.0  # the largest of its block by size is negative
    return found


def levels_of(moment: Tensor, book: Tensor) -> Tensor:
    """Return the nearest value of the book for each of moment / absmax, times absmax, one by one."""
    absmax = float(moment.abs().max()) or 1.0
    return torch.stack([book[(book - value / absmax).abs().argmin()] * absmax for value in moment])


def by_block(moment: Tensor, block: int, keep) -> Tensor:
    """Apply `keep` to each block and put the blocks together again."""
    return torch.cat([keep(part) for part in moment.split(block)])


def reference(moment: Tensor, book: Tensor, block: int) -> Tensor:
    """Keep each block by its own absmax."""
    return by_block(moment, block, lambda part: levels_of(part, book))


def one_absmax(moment: Tensor, book: Tensor, block: int) -> Tensor:
    """One absmax for the whole tensor: its largest value then sets the step of all others. Cut it into blocks
    first.
    """
    return levels_of(moment, book)


def still_scaled(moment: Tensor, book: Tensor, block: int) -> Tensor:
    """These are levels between -1 and 1: multiply each block by its absmax again."""
    return by_block(moment, block, lambda part: levels_of(part, book) / part.abs().max())


def next_level(moment: Tensor, book: Tensor, block: int) -> Tensor:
    """searchsorted finds the next level above. The nearest one changes at the middle between two levels:
    search among the midpoints.
    """

    def keep(part: Tensor) -> Tensor:
        absmax = part.abs().max()
        return book[torch.searchsorted(book, part / absmax).clamp(max=len(book) - 1)] * absmax

    return by_block(moment, block, keep)


def signed_maximum(moment: Tensor, book: Tensor, block: int) -> Tensor:
    """Divide by the largest magnitude: where the largest value is negative, max() misses it, and values leave
    the range of the book.
    """

    def keep(part: Tensor) -> Tensor:
        largest = part.max()
        return book[(book - (part / largest)[:, None]).abs().argmin(1)] * largest

    return by_block(moment, block, keep)


def linear_levels(moment: Tensor, book: Tensor, block: int) -> Tensor:
    """Even steps were used instead of the book: small values of a block all fall on the same level."""
    even = torch.linspace(float(book[0]), float(book[-1]), len(book))
    return reference(moment, even, block)


EXERCISE = Exercise(
    cases, reference, (one_absmax, still_scaled, next_level, signed_maximum, linear_levels),
    praise="One byte a value and one number a block: that is all that an 8-bit Adam keeps of each moment."
)  # fmt: skip
