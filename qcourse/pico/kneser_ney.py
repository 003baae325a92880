"""An interpolated Kneser-Ney 5-gram: what counting alone makes of the same text with the same tokens."""

import math
from collections import defaultdict
from collections.abc import Sequence

ORDER = 5

Table = dict[tuple[int, ...], dict[int, int]]  # context -> next token -> count


class KneserNey:
    """A 5-gram model over token ids with one absolute discount per order.

    The highest order uses counts; lower orders use the number of different
    tokens seen before an n-gram. The lowest is interpolated with the uniform
    distribution over the vocabulary. Source: Chen and Goodman 1999, equation 21
    (interpolated, discount n1 / (n1 + 2 n2) of each order).
    """

    def __init__(self, ids: Sequence[int], vocabulary: int, order: int = ORDER) -> None:
        self.vocabulary, self.order = vocabulary, order
        self.tables = count_tables(ids, order)
        self.discounts = [discount(table) for table in self.tables]
        self.totals = [
            {context: sum(following.values()) for context, following in table.items()}
            for table in self.tables
        ]

    def probability(self, context: tuple[int, ...], token: int) -> float:
        """Return p(token | context); only the last order - 1 tokens of the context count."""
        context = context[max(0, len(context) - self.order + 1) :]
        value = 1.0 / self.vocabulary
        for length in range(len(context) + 1):
            value = self._interpolate(context[len(context) - length :], token, value)
        return value

    def _interpolate(self, context: tuple[int, ...], token: int, lower: float) -> float:
        """Return the discounted share of `token` after `context` plus the freed mass times `lower`."""
        length = len(context)
        following = self.tables[length].get(context)
        if following is None:
            return lower
        total, cut = self.totals[length][context], self.discounts[length]
        return (max(following.get(token, 0) - cut, 0.0) + cut * len(following) * lower) / total

    def perplexity(self, ids: Sequence[int]) -> float:
        """Return exp of the mean negative log probability of ids[1:], each given what precedes it."""
        ids = tuple(ids)
        total = sum(
            math.log(self.probability(ids[max(0, i - self.order + 1) : i], ids[i]))
            for i in range(1, len(ids))
        )
        return math.exp(-total / (len(ids) - 1))


def count_tables(ids: Sequence[int], order: int) -> list[Table]:
    """Return, for contexts of 0 .. order-1 tokens, the counts that Kneser-Ney uses at that order."""
    ids = tuple(ids)
    tables: list[Table] = [defaultdict(dict) for _ in range(order)]
    highest = tables[order - 1]
    for i in range(len(ids) - order + 1):
        following = highest[ids[i : i + order - 1]]
        following[ids[i + order - 1]] = following.get(ids[i + order - 1], 0) + 1
    for length in range(order - 1, 0, -1):  # an n-gram one shorter counts its different predecessors
        seen = (
            {ids[i : i + length + 1] for i in range(len(ids) - length)}
            if length == order - 1
            else ((*context, token) for context, following in tables[length].items() for token in following)
        )
        shorter = tables[length - 1]
        for gram in seen:
            following = shorter[gram[1:-1]]
            following[gram[-1]] = following.get(gram[-1], 0) + 1
    return [dict(table) for table in tables]


def discount(table: Table) -> float:
    """Return n1 / (n1 + 2 n2), where n1 and n2 n-grams have count one and two; 0.5 where there are none."""
    once = sum(count == 1 for following in table.values() for count in following.values())
    twice = sum(count == 2 for following in table.values() for count in following.values())
    return once / (once + 2 * twice) if once and twice else 0.5
