"""Exercise 11.attend_rounded: one query's attention over a rounded cache whose first tokens stay exact."""

import math

import torch
from torch import Tensor

from qcourse.course.check import Exercise
from qcourse.course.exercises.l11_kv_rounded import rounded


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


def attend(query: Tensor, keys: Tensor, values: Tensor, scaled: bool = True) -> Tensor:
    """Return softmax(K q / sqrt(head_dim)) V."""
    return torch.softmax(keys @ query / (math.sqrt(len(query)) if scaled else 1.0), 0) @ values


def cached(part: Tensor, bits: int, first: int, axis: int) -> Tensor:
    """Return what the cache keeps: the first tokens, and the rounded others."""
    return torch.cat([part[:first], rounded(part[first:], bits, axis)])


def stretched(query: Tensor, keys: Tensor, values: Tensor, bits: int, first: int) -> Tensor:
    """The first tokens are exact in your cache, but they still set the scale of each channel: leave them out
    of the maximum as well.
    """
    all_keys = rounded(keys, bits, 0)
    return attend(query, torch.cat([keys[:first], all_keys[first:]]), cached(values, bits, first, 1))


def nothing_exact(query: Tensor, keys: Tensor, values: Tensor, bits: int, first: int) -> Tensor:
    """The first `first` tokens stay as they are, keys and values."""
    return attend(query, rounded(keys, bits, 0), rounded(values, bits, 1))


def exchanged(query: Tensor, keys: Tensor, values: Tensor, bits: int, first: int) -> Tensor:
    """Keys get a scale a channel (their outliers are channels), values a scale a token."""
    return attend(query, cached(keys, bits, first, 1), cached(values, bits, first, 0))


def no_root(query: Tensor, keys: Tensor, values: Tensor, bits: int, first: int) -> Tensor:
    """Scores are divided by sqrt(head_dim) before the softmax."""
    return attend(query, cached(keys, bits, first, 0), cached(values, bits, first, 1), scaled=False)


def keys_alone(query: Tensor, keys: Tensor, values: Tensor, bits: int, first: int) -> Tensor:
    """The cache holds values as well: round them too."""
    return attend(query, cached(keys, bits, first, 0), values)


def without_first(query: Tensor, keys: Tensor, values: Tensor, bits: int, first: int) -> Tensor:
    """Exact is not absent: attention still reads the first tokens. Join them with the rounded others."""
    return attend(query, rounded(keys[first:], bits, 0), rounded(values[first:], bits, 1))


EXERCISE = Exercise(
    cases, reference, (stretched, nothing_exact, exchanged, no_root, keys_alone, without_first),
    praise="Few exact tokens cost nothing in a long cache, and their outliers stretch nobody's scale.",
    tolerance=1e-4
)  # fmt: skip
