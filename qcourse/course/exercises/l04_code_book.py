"""Exercise 04.code_book: NF4's levels from quantiles of the normal distribution."""

from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (bits,): NF4 and its smaller and larger relatives."""
    return [(2,), (3,), (4,), (5,)]


NORMAL = NormalDist().inv_cdf


def tail(bits: int) -> float:
    """Return the mean of half a share of 2**bits and half a share of 2**bits - 1."""
    return (1 / 2 ** (bits + 1) + 1 / (2 * (2**bits - 1))) / 2


def half(count: int, end: float, quantile: Callable = NORMAL, last: bool = False) -> list[float]:
    """Return falling quantiles of `count` even probabilities from 1 - end to 0.5, left out unless `last`."""
    gaps = count - 1 if last and count > 1 else count
    return [quantile(1 - end - i * (0.5 - end) / gaps) for i in range(count)]


def book(bits: int, end: float | None = None, above: int = 0, below: int = -1, middle: tuple = (0.0,),
         largest: Callable = max, **quantiles) -> Tensor:  # fmt: skip
    """Return 2**bits rising levels; above, below: quantiles a side more than 2**(bits - 1)."""
    end, n = tail(bits) if end is None else end, 2 ** (bits - 1)
    lower, upper = half(n + below, end, **quantiles), half(n + above, end, **quantiles)
    levels = [-level for level in lower] + list(middle) + upper[::-1]
    return torch.tensor(levels) / largest(map(abs, levels))


def equal_shares(bits: int) -> Tensor:
    """Those are the middles of equal shares, with no exact 0. Take the halves above and below 0 apart."""
    levels = torch.tensor([NormalDist().inv_cdf((i + 0.5) / 2**bits) for i in range(2**bits)])
    return levels / levels.max()


WRONG = (
    equal_shares,
    *slips("Divide by the largest magnitude, so that the ends are 1.",
           not_scaled=lambda bits: book(bits, largest=lambda levels: 1),
           divided_by_the_sum=lambda bits: book(bits, largest=sum)),
    *slips("The half above 0 has one level more than the half below.",
           sides_swapped=lambda bits: book(bits, above=-1, below=0),
           a_level_too_many=lambda bits: book(bits, below=0),
           a_level_too_few=lambda bits: book(bits, above=-1)),
    *slips("The end is the mean of two tails: half a share of 2**bits, and half a share of 2**bits - 1.",
           one_of_all_shares=lambda bits: book(bits, 1 / 2 ** (bits + 1)),
           the_other_share=lambda bits: book(bits, 1 / (2 * (2**bits - 1)))),
    *slips("Half a share is left at the end, not a whole.",
           a_whole_share=lambda bits: book(bits, 2 * tail(bits))),
    *slips("Your end is that of 4 bits: it depends on the number of levels, 2**bits.",
           end_of_4_bits=lambda bits: book(bits, tail(4))),
    *slips("Exactly one level between the halves is 0: it stores zeros without an error.",
           no_zero=lambda bits: book(bits, middle=()), two_zeros=lambda bits: book(bits, middle=(0.0, 0.0))),
    *slips("The probability 0.5 is left out: its quantile is the 0 that you add apart.",
           half_included=lambda bits: book(bits, last=True)),
    *slips("Those are the probabilities: take the normal distribution's quantile of each.",
           probabilities=lambda bits: book(bits, quantile=float)),
    *slips("Those levels are even: NF4 takes quantiles of the normal distribution.",
           even=lambda bits: torch.linspace(-1, 1, 2**bits)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, book, WRONG,
    praise="For 4 bits the end is at 1 - 0.0323 = 0.9677083: the constant in bitsandbytes is no magic."
)  # fmt: skip
