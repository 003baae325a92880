"""Intervals: a bootstrap over windows for means, differences and ratios; Wilson's for shares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qcourse.common import QCourseError
from qcourse.skills import wilson

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether the interval lies wholly to one side of `value`."""
        return self.high < value or self.low > value

    def apply(self, change: Callable[[float], float]) -> "Estimate":
        """Return a monotone function of the figure, such as a ratio in percent, with its interval."""
        ends = sorted((change(self.low), change(self.high)))
        return Estimate(change(self.value), *ends)

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return mean(a) - mean(b) along the last axis."""
    return a.mean(-1) - b.mean(-1)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return mean(a) / mean(b) along the last axis."""
    return a.mean(-1) / b.mean(-1)


STATISTICS: dict[str, Callable] = {"difference": difference, "ratio": ratio}


def resample(n: int, statistic: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> Estimate:
    """Return a statistic of n windows (or items) with its 95% percentile interval.

    statistic: int64 window numbers [..., n] -> [...]; called once with 0..n-1 and then with numbers
    drawn with replacement. Draw over what is independent: windows or documents, never tokens.
    Raises QCourseError for n < 2.
    Source: Efron and Tibshirani 1993, chapter 13 (percentile interval), by scipy.stats.bootstrap.
    """
    from scipy import stats

    if n < 2:
        raise QCourseError(f"an interval needs at least 2 windows or items, not {n}; measure on more")
    numbers = np.arange(n)
    found = stats.bootstrap(
        (numbers,), lambda drawn, axis: statistic(drawn), vectorized=True, axis=-1, method="percentile",
        n_resamples=RESAMPLES, batch=max(1, 2**21 // n), rng=np.random.default_rng(seed),
    )  # fmt: skip
    low, high = found.confidence_interval
    return Estimate(float(statistic(numbers)), float(low), float(high))


def bootstrap(sample: Sequence[float] | np.ndarray, seed: int = 0) -> Estimate:
    """Return the mean of a sample [n] with its 95% interval."""
    values = np.asarray(sample, dtype=float)
    return resample(len(values), lambda drawn: values[drawn].mean(-1), seed)


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], statistic: str | Callable = "difference", seed: int = 0
) -> Estimate:
    """Return mean(a) - mean(b), or mean(a) / mean(b) for "ratio", with its 95% interval.

    a, b: [n], measured on the same n windows or items in the same order; both are drawn together,
    so what makes a window hard for both cancels. Raises QCourseError for unequal lengths or n < 2.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape:
        raise QCourseError(
            f"a paired comparison needs the same windows on both sides, not {len(first)} and {len(second)}"
        )
    compare = STATISTICS[statistic] if isinstance(statistic, str) else statistic
    return resample(len(first), lambda drawn: compare(first[drawn], second[drawn]), seed)


def percentile(values: np.ndarray, owner: np.ndarray) -> Estimate:
    """Return the 99th percentile of all values with its 95% interval, drawing whole windows.

    values: float [m]; owner: int [m], the window of each value, 0..n-1. Each draw weighs the sorted
    values by how often their window was drawn, which is exact and needs one sort for all draws.
    """
    order = np.argsort(-values)
    falling, windows = values[order], owner[order]
    n = int(owner.max()) + 1

    def one(drawn: np.ndarray) -> float:
        weight = np.bincount(drawn, minlength=n)[windows].cumsum()
        return falling[np.searchsorted(weight, 0.01 * weight[-1], side="right")]

    return resample(n, lambda drawn: np.apply_along_axis(one, -1, drawn))


def share(marks: Sequence[bool]) -> Estimate:
    """Return the share of true marks with Wilson's 95% interval (Wilson 1927)."""
    right, n = int(sum(marks)), len(marks)
    low, high = wilson(right, n)
    return Estimate(right / n if n else float("nan"), low, high)


__all__ = ["Estimate", "bootstrap", "paired_bootstrap", "percentile", "resample", "share", "wilson"]
