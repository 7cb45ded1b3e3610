"""Resampled days and seeds: where every interval of a score comes from."""

import numpy as np
from arch.bootstrap import StationaryBootstrap

from analysis.law import Floats

N_RESAMPLES = 1000

_BLOCK_DAYS = 20
_BLOCK_HORIZONS = 4


def block_days(horizon: int) -> int:
    """Return the mean block length for daily losses of labels that look ``horizon`` days ahead.

    Blocks must outlast what makes days alike: overlapping labels, calm and stormy months. The same
    as in a search.
    """
    return max(_BLOCK_DAYS, _BLOCK_HORIZONS * horizon)


def resampled_days(n_days: int, horizon: int, *, seed: int = 0) -> Floats:
    """Return how often each day is in each stationary block bootstrap sample.

    Blocks of geometric length begin on any day and go on around the end (Politis and Romano 1994).
    The same seed gives every model of a horizon the same days, so that differences stay paired.

    Returns: shape (N_RESAMPLES, n_days), each row of sum n_days.
    """
    bootstrap = StationaryBootstrap(block_days(horizon), np.arange(n_days), seed=seed)
    drawn = (data[0] for data, _ in bootstrap.bootstrap(N_RESAMPLES))
    return np.stack([np.bincount(days, minlength=n_days) for days in drawn]).astype(np.float64)


def daily_means(values: Floats, days: Floats) -> Floats:
    """Return the mean of daily values in each sample of days.

    Args:
        values: shape (n_seeds, n_days).
        days: of ``resampled_days``.

    Returns: shape (n_resamples, n_seeds).
    """
    return np.asarray(days @ values.T / values.shape[1])


def draw_seeds(values: Floats, draw: np.random.Generator) -> Floats:
    """Return the scores of resampled seeds, around the mean of all seeds in each sample of days.

    A few seeds vary less among themselves than around their expectation, by (m - 1) / m of the
    variance for m seeds; what is drawn is spread out by the root of that. The noise of single days
    counts among days and among seeds, so that intervals are too wide where seeds hardly differ
    (``tests/bench/test_interval_coverage.py``): without it they would be too narrow where they do.

    Args:
        values: scores in each sample of days, shape (n_resamples, n_seeds), two seeds at least.
        draw: of the seeds.
    """
    n_seeds = values.shape[1]
    centre = values.mean(axis=1, keepdims=True)
    drawn = np.take_along_axis(values, draw.integers(n_seeds, size=values.shape), axis=1)
    return np.asarray(centre + np.sqrt(n_seeds / (n_seeds - 1)) * (drawn - centre))


def mean_over_seeds(values: Floats, draw: np.random.Generator) -> Floats:
    """Return the mean over resampled seeds of scores of shape (n_resamples, n_seeds)."""
    return np.asarray((draw_seeds(values, draw) if values.shape[1] > 1 else values).mean(axis=1))
