"""Exercise 11.attend_rounded: one query's attention over a rounded cache whose first tokens stay exact."""

import math
from functools import partial

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips
from qcourse.course.exercises.grids import grid_slips, rounded


def cases() -> list[tuple]:
    """Return (query [head_dim], keys and values [tokens, head_dim], bits, exact first tokens)."""
    draw = torch.Generator().manual_seed(111)
    found = []
    for tokens, width, bits, first in ((5, 4, 3, 1), (20, 8, 4, 2), (33, 16, 2, 4), (6, 4, 4, 0)):
        keys, values = torch.randn(2, tokens, width, generator=draw)
        keys[:first] *= 6
        values[:first] *= 3
        found.append((torch.randn(width, generator=draw), keys, values, bits, first))
    return found


def reference(query: Tensor, keys: Tensor, values: Tensor, bits: int, first: int) -> Tensor:
    """Round entry by entry, keys with a scale a channel and values with a scale a token, and attend."""
    largest, tokens, width = 2 ** (bits - 1) - 1, *keys.shape
    kept_keys, kept_values = keys.tolist(), values.tolist()
    for channel in range(width):
        step = max(abs(kept_keys[token][channel]) for token in range(first, tokens)) / largest
        for token in range(first, tokens):
            kept_keys[token][channel] = round(kept_keys[token][channel] / step) * step
    for token in range(first, tokens):
        step = max(map(abs, kept_values[token])) / largest
        kept_values[token] = [round(value / step) * step for value in kept_values[token]]
    scores = [math.exp(sum(a * b for a, b in zip(query.tolist(), key, strict=True)) / math.sqrt(width))
              for key in kept_keys]  # fmt: skip
    mixed = [sum(s * v[c] for s, v in zip(scores, kept_values, strict=True)) for c in range(width)]
    return torch.tensor(mixed) / sum(scores)


def cached(part: Tensor, bits: int, first: int, axis: int, **grid) -> Tensor:
    """Return what the cache keeps: the first tokens, and the rounded others."""
    return torch.cat([part[:first], rounded(part[first:], axis, 2 ** (bits - 1) - 1, **grid)])


def by_channel(part: Tensor, bits: int, first: int, **grid) -> Tensor:
    """Return the cache with a scale a channel."""
    return cached(part, bits, first, 0, **grid)


def by_token(part: Tensor, bits: int, first: int, **grid) -> Tensor:
    """Return the cache with a scale a token."""
    return cached(part, bits, first, 1, **grid)


def attend(query: Tensor, keys: Tensor, values: Tensor, bits: int, first: int, of_keys=by_channel,
           of_values=by_token, root=lambda query, keys: len(query) ** 0.5, weigh=torch.softmax,
           **grid) -> Tensor:  # fmt: skip
    """Return softmax(K q / sqrt(head_dim)) V over what of_keys and of_values keep."""
    kept_keys, kept_values = of_keys(keys, bits, first, **grid), of_values(values, bits, first, **grid)
    return weigh(kept_keys @ query / root(query, keys), 0) @ kept_values


def all_rounded(part: Tensor, bits: int, first: int, axis: int, **grid) -> Tensor:
    """Return the cache with nothing exact."""
    return cached(part, bits, 0, axis)


def stretched(part: Tensor, bits: int, first: int, **grid) -> Tensor:
    """Return keys whose first tokens are exact but set the scales."""
    return torch.cat([part[:first], cached(part, bits, 0, 0)[first:]])


def exact(part: Tensor, bits: int, first: int, **grid) -> Tensor:
    """Return the part as it came."""
    return part


def last_exact(part: Tensor, bits: int, first: int, axis: int, **grid) -> Tensor:
    """Return the cache with its last tokens exact."""
    return cached(part.flip(0), bits, first, axis).flip(0)


WRONG = (
    *grid_slips(attend),
    *slips("The first tokens are exact in your cache, but they still set the scale of each channel: leave "
           "them out of the maximum as well.", stretched=partial(attend, of_keys=stretched)),
    *slips("The first `first` tokens stay as they are, keys and values.",
           nothing_exact=partial(attend, of_keys=partial(all_rounded, axis=0),
           of_values=partial(all_rounded, axis=1)),
           keys_not_exact=partial(attend, of_keys=partial(all_rounded, axis=0)),
           values_not_exact=partial(attend, of_values=partial(all_rounded, axis=1)),
           last_exact=partial(attend, of_keys=partial(last_exact, axis=0),
           of_values=partial(last_exact, axis=1))),
    *slips("Exactly `first` tokens stay exact: yours are one more.",
           one_more=lambda query, keys, values, bits, first: attend(query, keys, values, bits, first + 1)),
    *slips("Keys get a scale a channel (their outliers are channels), values a scale a token.",
           exchanged=partial(attend, of_keys=by_token, of_values=by_channel),
           one_scale=partial(attend, of_keys=partial(cached, axis=(0, 1)),
           of_values=partial(cached, axis=(0, 1))),
           all_by_token=partial(attend, of_keys=by_token),
           all_by_channel=partial(attend, of_values=by_channel)),
    *slips("Scores are divided by sqrt(head_dim) before the softmax.",
           no_root=partial(attend, root=lambda query, keys: 1.0), no_square_root=partial(attend,
           root=lambda q, k: len(q)),
           root_of_tokens=partial(attend, root=lambda query, keys: len(keys) ** 0.5)),
    *slips("The softmax over the tokens is missing: scores become weights that add up to 1.",
           no_softmax=partial(attend, weigh=lambda scores, axis: scores),
           not_normalized=partial(attend, weigh=lambda scores, axis: scores.exp())),
    *slips("Nothing is rounded: keys and values are stored in `bits` bits.",
           nothing_rounded=partial(attend, of_keys=exact, of_values=exact)),
    *slips("The cache holds values as well: round them too.", keys_alone=partial(attend, of_values=exact)),
    *slips("The cache holds keys as well: round them too.", values_alone=partial(attend, of_keys=exact)),
    *slips("Exact is not absent: attention still reads the first tokens. Join them with the rounded others.",
           without_first=lambda query, keys, values, bits, first: attend(query, keys[first:],
               values[first:], bits, 0)),
    *slips("The query is not in the cache: it stays as it is.",
           query_rounded=lambda query, *case: attend(rounded(query, 0, 2 ** (case[2] - 1) - 1), *case)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Few exact tokens cost nothing in a long cache, and their outliers stretch nobody's scale.",
    tolerance=1e-4
)  # fmt: skip
