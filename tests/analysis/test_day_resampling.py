"""Samples of days, which are as far from all days as few blocks of days allow."""

import numpy as np
import pytest

from analysis.statistics.comparison import paired_difference
from analysis.statistics.day_resampling import (
    N_RESAMPLES,
    daily_mean_losses,
    daily_means,
    resampled_days,
    variance_shares,
)
from analysis.statistics.floats import Floats
from study.statistics.block_length import judged_block_days


def test_samples_of_days_keep_the_number_of_days_and_are_the_same_for_all() -> None:
    first, second = resampled_days(300, 5), resampled_days(300, 5)
    assert first.counts.shape == (N_RESAMPLES, 300)
    assert (first.counts.sum(axis=1) == 300).all()
    assert np.array_equal(first.counts, second.counts)
    assert np.array_equal(first.stretch, second.stretch)


def overlapping(n_series: int, n_days: int, horizon: int, seed: int = 0) -> Floats:
    """Return series of mean 0 whose values are of ``horizon`` days each, shape (n_series, n_days).

    They are as hard as differences of losses of overlapping labels can be.
    """
    shape = (n_series, n_days + horizon)
    sums = np.cumsum(np.random.default_rng(seed).standard_normal(shape), axis=1)
    return np.asarray((sums[:, horizon:] - sums[:, :-horizon]) / horizon)


@pytest.mark.parametrize(("n_days", "horizon"), [(150, 5), (151, 1), (700, 20)])
def test_samples_show_the_share_of_a_variance_that_is_said(n_days: int, horizon: int) -> None:
    values = overlapping(2_000, n_days, horizon)
    days = resampled_days(n_days, horizon)
    # Of the sum of so many values, each of which is in ``horizon`` days of n.
    true = 1 / n_days
    shown = days.means(values).var(axis=0) / true
    shares = variance_shares(n_days, judged_block_days(horizon, n_days), horizon)
    assert days.shown == pytest.approx(shares.sum())
    assert shown.mean() == pytest.approx(days.shown, rel=0.05)
    # The share varies from series to series as its draws do from sample to sample.
    assert (1 / days.stretch**2).mean() == pytest.approx(days.shown, rel=0.05)
    assert (1 / days.stretch**2).std() == pytest.approx(shown.std(), rel=0.1)


def test_a_mean_moves_away_by_the_stretch_of_its_sample() -> None:
    values = np.random.default_rng(0).gamma(2, 0.2, (2, 200))
    days = resampled_days(200, 5)
    own = values.mean(axis=1)
    narrow, wide = days.means(values) - own, daily_means(values, days) - own
    assert wide == pytest.approx(days.stretch[:, None] * narrow)
    # Of losses so do the logs, so that none is below zero where few blocks say little.
    few = resampled_days(60, 20)
    assert daily_means(values[:, :60], few).min() < 0
    logs = np.log(values[:, :60].mean(axis=1))
    assert np.log(daily_mean_losses(values[:, :60], few)) - logs == pytest.approx(
        few.stretch[:, None] * (np.log(few.means(values[:, :60])) - logs)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("n_days", "horizon"), [(150, 5), (712, 20)])
def test_equal_models_are_called_better_no_more_often_than_is_said(
    n_days: int, horizon: int
) -> None:
    days = resampled_days(n_days, horizon)
    zeros, n_series = np.zeros((1, n_days)), 1_000
    found = [
        paired_difference(own[None], zeros, days) for own in overlapping(n_series, n_days, horizon)
    ]
    better = sum(each.high is not None and each.high < 0 for each in found) / n_series
    worse = sum(each.low is not None and each.low > 0 for each in found) / n_series
    # With the samples as they are, 6 to 8 %.
    error = (0.025 * 0.975 / n_series) ** 0.5
    assert max(better, worse) <= 0.025 + 2 * error
    assert 0.93 <= 1 - better - worse <= 0.97
