"""Resampled days, from which every interval of a score comes, and means over them and seeds."""

import numpy as np
from arch.bootstrap import StationaryBootstrap

from analysis.statistics.floats import Floats
from study.statistics.block_length import judged_block_days

N_RESAMPLES = 1000
"""Bootstrap resamples of days: an end of a 95 % interval rests on 25 of them."""


def resampled_day_counts(
    n_days: int, horizon: int, *, n_part_days: int | None = None, seed: int = 0
) -> Floats:
    """Return how often each day is in each stationary block bootstrap sample.

    Blocks of geometric length, ``judged_block_days`` on average, begin on any day and wrap around
    the end (Politis and Romano 1994). The same seed gives every model of a horizon the same days,
    so that differences stay paired.

    Args:
        n_days: number of days.
        horizon: of the labels, days.
        n_part_days: number of days of the part of which these are some; None if they are all.
        seed: of the samples.

    Returns: shape (N_RESAMPLES, n_days), each row of sum n_days.
    """
    block = judged_block_days(horizon, n_days if n_part_days is None else n_part_days)
    bootstrap = StationaryBootstrap(block, np.arange(n_days), seed=seed)
    drawn = (data[0] for data, _ in bootstrap.bootstrap(N_RESAMPLES))
    return np.stack([np.bincount(days, minlength=n_days) for days in drawn]).astype(np.float64)


def daily_means(values: Floats, days: Floats) -> Floats:
    """Return the mean of daily values in each sample of days.

    Args:
        values: shape (n_seeds, n_days).
        days: of ``resampled_day_counts``.

    Returns: shape (n_resamples, n_seeds).
    """
    return np.asarray(days @ values.T / values.shape[1])


def effective_days(values: Floats, days: Floats) -> float:
    """Return how many independent days would show the mean of daily values as well as these do.

    The variance of single days over that of the mean in samples of blocks of days (the effective
    sample size of a correlated series, Kish 1965). Counting how labels overlap sees no calm and
    stormy months, and takes nearly equal labels of neighbouring days for one.

    Args:
        values: of the days, shape (n_days,), not all equal.
        days: samples of blocks of days.

    Returns: at most the number of days; NaN where all values are equal.
    """
    variance = float(daily_means(values[None], days).var(ddof=1))
    if variance <= 0 or np.ptp(values) == 0:
        return float("nan")
    return min(float(values.var(ddof=1)) / variance, float(len(values)))


def mean_over_seeds(values: Floats, draw: np.random.Generator) -> Floats:
    """Return the mean over seeds, as far as it is known, of scores (n_resamples, n_seeds)."""
    return np.asarray((draw_seeds(values, draw) if values.shape[1] > 1 else values).mean(axis=1))


def draw_seeds(values: Floats, draw: np.random.Generator) -> Floats:
    """Return the scores of seeds moved together, as far as their mean may be from that of all.

    Seeds differ by what they are and by the noise of single days, which resampled days hold
    already; only the rest is drawn. How far seeds differ is itself known badly from a few of them:
    each sample draws their variance from what m - 1 degrees of freedom allow, takes the noise away,
    and moves the mean by what is left (a generalised interval, Weerahandi 1993). Without noise the
    mean is spread like Student's t. ``tests/bench/test_interval_coverage.py`` measures coverage.

    Args:
        values: scores in each sample of days, shape (n_resamples, n_seeds), two seeds at least.
        draw: of the seeds.
    """
    n_seeds = values.shape[1]
    known = values[np.isfinite(values).all(axis=1)]
    if len(known) < 2:
        return values
    # What each seed is by itself, on all days, less the mean of all.
    own = known.mean(axis=0) - known.mean()
    centre = values.mean(axis=1, keepdims=True)
    shape = (len(values), 1)
    # The variance by which days move single seeds apart.
    moves = known - known.mean(axis=1, keepdims=True) - own
    day_variance = (moves**2).sum() / ((len(known) - 1) * (n_seeds - 1))
    variance = (own**2).sum() / draw.chisquare(n_seeds - 1, size=shape) - day_variance
    moved = np.sqrt(np.maximum(variance, 0) / n_seeds) * draw.standard_normal(shape)
    return np.asarray(centre + moved + own)
