"""Samples of days that are as widely spread as few blocks of days allow."""

import numpy as np
import pytest

from analysis.panel.day_samples import panel_day_samples, widening
from analysis.statistics.day_resampling import daily_means, resampled_day_counts
from analysis.statistics.interval import estimate


def test_the_spread_of_a_mean_grows_by_the_factor() -> None:
    values = np.random.default_rng(0).standard_normal((2, 200))
    narrow = daily_means(values, resampled_day_counts(200, 5))
    samples = panel_day_samples(200, 5)
    wide = daily_means(values, samples)
    factor = widening(200, 5)
    assert samples.sum(axis=1) == pytest.approx(np.full(len(samples), 200))
    own = values.mean(axis=1)
    assert wide - own == pytest.approx(factor * (narrow - own))


@pytest.mark.parametrize(
    ("n_days", "horizon", "low", "high"),
    [(150, 5, 1.3, 1.4), (1200, 5, 1.05, 1.1), (1200, 20, 1.15, 1.2), (2400, 1, 1.0, 1.03)],
)
def test_the_factor_falls_with_the_number_of_blocks(
    n_days: int, horizon: int, low: float, high: float
) -> None:
    assert low < widening(n_days, horizon) < high


def test_two_blocks_give_a_wide_interval_and_not_none() -> None:
    assert 3 < widening(40, 5) < 10


@pytest.mark.slow
def test_an_interval_of_few_blocks_misses_the_mean_no_more_often_than_it_says() -> None:
    samples = panel_day_samples(150, 5)
    misses = 0
    for seed in range(400):
        values = np.random.default_rng(seed).standard_normal((1, 150))
        found = estimate(float(values.mean()), daily_means(values, samples)[:, 0])
        assert found.low is not None
        assert found.high is not None
        misses += not found.low <= 0 <= found.high
    # Of 400 that are meant to be 5 %, 99 times of 100 no more than 31 miss.
    assert misses <= 31
