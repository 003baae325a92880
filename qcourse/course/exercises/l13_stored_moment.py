"""Exercise 13.stored_moment: what an optimizer's moment is after it was kept in few bits."""

from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


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


def nearest(scaled: Tensor, book: Tensor) -> Tensor:
    """Return the number of the nearest level."""
    return (book - scaled[:, None]).abs().argmin(1)


def kept(moment: Tensor, book: Tensor, block: int, pick=nearest, size=lambda part: part.abs().max(),
         level=lambda book, place: book[place], back=torch.mul) -> Tensor:  # fmt: skip
    """Do so with another level, another scale, or another way back."""
    return by_block(moment, block, lambda part: back(level(book, pick(part / size(part), book)), size(part)))


def one_side(scaled: Tensor, book: Tensor) -> Tensor:
    """Return the number of the level whose magnitude is nearest."""
    return (book.abs() - scaled.abs()[:, None]).abs().argmin(1)


def whole_blocks(moment: Tensor, book: Tensor, block: int) -> Tensor:
    """Keep all blocks but a short one."""
    return reference(moment[: len(moment) // block * block], book, block)


WRONG = (
    *slips("One absmax for the whole tensor: its largest value then sets the step of all others. Cut it "
           "into blocks first.", one_absmax=lambda moment, book, block: levels_of(moment, book)),
    *slips("`block` is the length of a block, not their number: moment.split(block).",
           so_many_blocks=lambda moment, book, block: torch.cat([levels_of(part,
               book) for part in moment.chunk(block)])),
    *slips("The last block may be short: it has an absmax as well.", short_block_dropped=whole_blocks,
           short_block_left=lambda moment, book, block: torch.cat([
               whole_blocks(moment, book, block), moment[len(moment) // block * block :]])),
    *slips("These are levels between -1 and 1: multiply each block by its absmax again.",
           largest_of_all=lambda moment, book, block: kept(
               moment, book, block, back=lambda level, size: level * moment.abs().max()),
           divided_again=partial(kept, back=torch.div), still_scaled=partial(kept,
           back=lambda level, size: level)),
    *slips("Divide each block by its absmax before you look for the nearest level.",
           unscaled=partial(kept, size=lambda part: torch.ones(()))),
    *slips("Those are numbers of levels: return the levels, times the block's absmax.",
           numbers=partial(kept, level=lambda book, place: place, back=lambda level, size: level)),
    *slips("searchsorted finds the next level above. The nearest one changes at the middle between two "
           "levels: search among the midpoints.",
           next_level=partial(kept,
           pick=lambda scaled, book: torch.searchsorted(book, scaled).clamp(max=len(book) - 1))),
    *slips("That is the next level below. The nearest one changes at the middle between two levels.",
           level_below=partial(kept, pick=lambda scaled, book: (
               torch.searchsorted(book, scaled, right=True) - 1).clamp(min=0))),
    *slips("A distance is a magnitude: without abs() the lowest difference is that to the first level.",
           signed_distance=partial(kept, pick=lambda scaled, book: (book - scaled[:, None]).argmin(1))),
    *slips("The sign of a value is part of it: compare signed values with the levels.",
           magnitudes=partial(kept, pick=one_side)),
    *slips("Divide by the largest magnitude: where the largest value is negative, max() misses it, and "
           "values leave the range of the book.", signed_maximum=partial(kept, size=torch.max)),
    *slips("The book ends at 1: divide by the largest magnitude, not by a mean, a deviation or a norm.",
           deviation=partial(kept, size=torch.std), norm=partial(kept, size=torch.linalg.vector_norm),
           mean=partial(kept, size=lambda part: part.abs().mean())),
    *slips("Even steps were used instead of the book: small values of a block all fall on the same level.",
           linear_levels=lambda moment, book, block: reference(
               moment, torch.linspace(float(book[0]), float(book[-1]), len(book)), block)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="One byte a value and one number a block: that is all that an 8-bit Adam keeps of each moment."
)  # fmt: skip
