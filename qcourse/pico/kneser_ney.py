"""An interpolated Kneser-Ney 5-gram: what counting alone makes of the same text with the same tokens."""

import numpy as np

ORDER = 5


class KneserNey:
    """A 5-gram model over token ids with one absolute discount per order.

    The highest order uses counts; lower orders use the number of different
    tokens seen before an n-gram. The lowest is interpolated with the uniform
    distribution over the vocabulary. An n-gram is one int64, its tokens the
    digits in base `vocabulary`, so that vocabulary ** order must fit in 63 bits.
    Source: Chen and Goodman 1999, equation 21 (interpolated, discount
    n1 / (n1 + 2 n2) of each order).
    """

    def __init__(self, ids, vocabulary: int, order: int = ORDER) -> None:
        if vocabulary**order >= 2**63:
            raise ValueError(f"{order}-grams of {vocabulary} tokens do not fit in 63 bits")
        self.vocabulary, self.order = vocabulary, order
        self.tables = count_tables(ids, vocabulary, order)
        self.discounts = [discount(counts) for _, counts in self.tables]
        self.contexts = [_per_context(grams // vocabulary, counts) for grams, counts in self.tables]

    def probabilities(self, ids) -> np.ndarray:
        """Return p(ids[i] | up to order - 1 tokens before it) for every i but the first."""
        ids = np.asarray(ids, dtype=np.int64)
        value = np.full(len(ids), 1.0 / self.vocabulary)
        gram = ids.copy()  # the n-gram that ends at each position
        for length, (grams, counts) in enumerate(self.tables):
            if length:
                gram[length:] += ids[:-length] * self.vocabulary**length
            value[length:] = self._interpolate(length, gram[length:], grams, counts, value[length:])
        return value[1:]

    def _interpolate(self, length: int, asked, grams, counts, lower) -> np.ndarray:
        """Return the discounted share of each n-gram in its context plus the freed mass times `lower`."""
        contexts, totals, different = self.contexts[length]
        total = _find(contexts, totals, asked // self.vocabulary)
        freed = self.discounts[length] * _find(contexts, different, asked // self.vocabulary) * lower
        own = np.maximum(_find(grams, counts, asked) - self.discounts[length], 0.0)
        return np.where(total > 0, (own + freed) / np.maximum(total, 1), lower)

    def perplexity(self, ids) -> float:
        """Return exp of the mean negative log probability of ids[1:], each given what precedes it."""
        return float(np.exp(-np.log(self.probabilities(ids)).mean()))


def count_tables(ids, vocabulary: int, order: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, for n-grams of 1 .. order tokens, (distinct n-grams ascending, the counts Kneser-Ney uses)."""
    ids = np.asarray(ids, dtype=np.int64)
    gram = sum(ids[i : len(ids) - order + 1 + i] * vocabulary ** (order - 1 - i) for i in range(order))
    tables = [np.unique(gram, return_counts=True)]
    for length in range(order - 1, 0, -1):  # an n-gram one shorter counts its different predecessors
        tables.insert(0, np.unique(tables[0][0] % vocabulary**length, return_counts=True))
    return tables


def discount(counts: np.ndarray) -> float:
    """Return n1 / (n1 + 2 n2), where n1 and n2 n-grams have count one and two; 0.5 where there are none."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5


def _per_context(contexts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (distinct contexts, the sum of their counts, how many n-grams they have)."""
    distinct, first, different = np.unique(contexts, return_index=True, return_counts=True)
    return distinct, np.add.reduceat(counts, first), different


def _find(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the value of each asked key, 0 where it is not among the ascending `keys`."""
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, values[place], 0)
