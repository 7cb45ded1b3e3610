"""Resampled days and seeds: where every interval of a score comes from."""

import numpy as np
from arch.bootstrap import StationaryBootstrap

from analysis.statistics.law import Floats
from analysis.statistics.seed_noise import draw_seeds
from study.day_blocks import block_days

N_RESAMPLES = 1000


def resampled_day_counts(n_days: int, horizon: int, *, seed: int = 0) -> Floats:
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
        days: what ``resampled_day_counts`` returns.

    Returns: shape (n_resamples, n_seeds).
    """
    return np.asarray(days @ values.T / values.shape[1])


def mean_over_seeds(values: Floats, draw: np.random.Generator) -> Floats:
    """Return the mean over seeds, as far as it is known, of scores (n_resamples, n_seeds)."""
    return np.asarray((draw_seeds(values, draw) if values.shape[1] > 1 else values).mean(axis=1))
