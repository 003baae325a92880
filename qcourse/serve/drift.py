"""Drift of live traffic: is what users send still what the model was calibrated and measured on?"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from qcourse.common import QCourseError

DRAWS = 200


@dataclass(frozen=True)
class DriftReport:
    """Distance of the latest window from the reference, and the distance that chance alone explains."""

    distance: float
    threshold: float

    @property
    def drifted(self) -> bool:
        """Whether the distance is more than chance explains."""
        return self.distance > self.threshold

    def __str__(self) -> str:
        verdict = "DRIFT" if self.drifted else "no drift"
        return f"{verdict}: distance {self.distance:.4f}, limit {self.threshold:.4f}"


class DriftMonitor:
    """Compares the token distribution of the last `window` requests with a reference set's.

    The distance is the Jensen-Shannon divergence of smoothed unigram shares, in nats (Lin 1991).
    Its threshold is the 99th percentile over windows drawn from the reference itself, requests drawn
    whole, so that ordinary variety raises no alarm.
    """

    def __init__(self, reference: Sequence[Sequence[int]], vocabulary: int, window: int = 50) -> None:
        if len(reference) < 2 * window:
            raise QCourseError(
                f"{len(reference)} reference requests are too few for a window of {window}; "
                f"give at least {2 * window} or a smaller window"
            )
        self.vocabulary, self.window = vocabulary, window
        rows = np.stack([counts(request, vocabulary) for request in reference])
        self.reference = shares(rows.sum(0))
        self.threshold = self._chance(rows)
        self.recent: deque[np.ndarray] = deque(maxlen=window)

    def _chance(self, rows: np.ndarray) -> float:
        """Return the 99th percentile of distances of windows from the rest of the reference."""
        random, distances = np.random.default_rng(0), []
        for _ in range(DRAWS):
            order = random.permutation(len(rows))
            inside, rest = rows[order[: self.window]].sum(0), rows[order[self.window :]].sum(0)
            distances.append(js_divergence(shares(rest), shares(inside)))
        return float(np.quantile(distances, 0.99))

    def observe(self, requests: Iterable[Sequence[int]]) -> DriftReport | None:
        """Take in new requests (token ids); return a report once the window is full, else None."""
        self.recent.extend(counts(request, self.vocabulary) for request in requests)
        if len(self.recent) < self.window:
            return None
        seen = shares(np.sum(list(self.recent), axis=0))
        return DriftReport(js_divergence(self.reference, seen), self.threshold)


def counts(request: Sequence[int], vocabulary: int) -> np.ndarray:
    """Return how often each token occurs in a request, int64 [vocabulary]."""
    return np.bincount(np.asarray(request, dtype=np.int64), minlength=vocabulary)[:vocabulary]


def shares(total: np.ndarray) -> np.ndarray:
    """Return counts as shares, nothing added: a constant a token would weigh more in a short window."""
    return total / max(total.sum(), 1)


def js_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two distributions in nats, 0 to log 2."""
    middle = (p + q) / 2
    return float((rel_entr(p, middle) + rel_entr(q, middle)).sum() / 2)
