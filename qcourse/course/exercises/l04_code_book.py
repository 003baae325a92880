"""Exercise 04.code_book: NF4's levels from quantiles of the normal distribution."""

from statistics import NormalDist

import torch
from torch import Tensor

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (bits,): NF4 and its smaller and larger relatives."""
    return [(2,), (3,), (4,), (5,)]


def tail(bits: int) -> float:
    """Return the mean of half a share of 2**bits and half a share of 2**bits - 1."""
    return (1 / 2 ** (bits + 1) + 1 / (2 * (2**bits - 1))) / 2


def book(bits: int, end: float | None = None, scaled: bool = True, swap: bool = False) -> Tensor:
    """Return 2**bits rising levels: one quantile more above 0 than below, an exact 0, the largest at 1."""
    end = tail(bits) if end is None else end
    above, below = 2 ** (bits - 1), 2 ** (bits - 1) - 1
    above, below = (below, above) if swap else (above, below)
    half = {
        n: [NormalDist().inv_cdf(1 - end - i * (0.5 - end) / n) for i in range(n)] for n in (above, below)
    }
    levels = [-level for level in half[below]] + [0.0] + half[above][::-1]
    return torch.tensor(levels) / (max(map(abs, levels)) if scaled else 1)


def equal_shares(bits: int) -> Tensor:
    """Those are the middles of equal shares, with no exact 0. Take the halves above and below 0 apart."""
    levels = torch.tensor([NormalDist().inv_cdf((i + 0.5) / 2**bits) for i in range(2**bits)])
    return levels / levels.max()


def not_scaled(bits: int) -> Tensor:
    """Divide by the largest magnitude, so that the ends are 1."""
    return book(bits, scaled=False)


def sides_swapped(bits: int) -> Tensor:
    """The half above 0 has one level more than the half below."""
    return book(bits, swap=True)


def one_of_all_shares(bits: int) -> Tensor:
    """The end is the mean of two tails: half a share of 2**bits, and half a share of 2**bits - 1."""
    return book(bits, 1 / 2 ** (bits + 1))


def a_whole_share(bits: int) -> Tensor:
    """Half a share is left at the end, not a whole."""
    return book(bits, 2 * tail(bits))


EXERCISE = Exercise(
    cases, book, (equal_shares, not_scaled, sides_swapped, one_of_all_shares, a_whole_share),
    praise="For 4 bits the end is at 1 - 0.0323 = 0.9677083: the constant in bitsandbytes is no magic."
)  # fmt: skip
