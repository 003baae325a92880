"""Intervals against scipy's own and against what pairing must do."""

import numpy as np
import pytest
from scipy import stats

from qcourse.common import QCourseError
from qcourse.measure import bootstrap, paired_bootstrap, percentile, share


@pytest.mark.parametrize(("right", "n"), [(0, 50), (7, 50), (50, 50), (199, 200)])
def test_share_is_wilsons_interval(right, n):
    found = share([True] * right + [False] * (n - right))
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx(
        (right / n, expected.low, expected.high), abs=1e-9
    )


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval():
    sample = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap(sample)
    assert found.value == pytest.approx(sample.mean())
    half = 1.96 * sample.std() / 20
    assert (found.low, found.high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.04)


def test_pairing_cancels_what_both_sides_share():
    random = np.random.default_rng(1)
    hardness = random.normal(0, 5, 40)
    a, b = hardness + 0.2 + random.normal(0, 0.05, 40), hardness + random.normal(0, 0.05, 40)
    paired = paired_bootstrap(a, b)
    shuffled = paired_bootstrap(a, random.permutation(b))
    assert paired.excludes(0) and not shuffled.excludes(0)
    assert paired.value == pytest.approx(a.mean() - b.mean())


def test_ratio_of_means():
    a, b = np.array([2.0, 4.0, 6.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.0])
    found = paired_bootstrap(a, b, "ratio")
    assert (found.value, found.low, found.high) == (2, 2, 2)


def test_same_seed_same_interval():
    a, b = np.random.default_rng(2).normal(size=(2, 30))
    assert paired_bootstrap(a, b) == paired_bootstrap(a, b)
    assert paired_bootstrap(a, b) != paired_bootstrap(a, b, seed=1)


def test_percentile_draws_whole_windows():
    values = np.random.default_rng(3).exponential(size=(8, 100))
    owner = np.repeat(np.arange(8), 100)
    found = percentile(values.ravel(), owner)
    assert found.value == np.quantile(values, 0.99, method="inverted_cdf")
    drawn = np.random.default_rng(4).integers(0, 8, (500, 8))
    by_hand = [np.quantile(values[d], 0.99, method="inverted_cdf") for d in drawn]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, (0.025, 0.975))), rel=0.1)


def test_too_few_or_unequal_samples_are_refused():
    with pytest.raises(QCourseError, match="at least 2"):
        bootstrap([1.0])
    with pytest.raises(QCourseError, match="same windows"):
        paired_bootstrap([1.0, 2.0], [1.0])
