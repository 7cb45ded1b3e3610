"""Resampled days and seeds: where every interval of a score comes from."""

from collections.abc import Callable

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


def resampled_days(n_days: int, horizon: int, *, seed: int = 0) -> np.ndarray:
    """Return the days of stationary block bootstrap samples, shape (N_RESAMPLES, n_days).

    Blocks of geometric length begin on any day and go on around the end (Politis and Romano 1994).
    The same seed gives every model of a horizon the same days, so that differences stay paired.
    """
    bootstrap = StationaryBootstrap(block_days(horizon), np.arange(n_days), seed=seed)
    return np.stack([data[0] for data, _ in bootstrap.bootstrap(N_RESAMPLES)])


def mean_over_seeds(values: Floats, draw: np.random.Generator) -> Floats:
    """Return the mean over resampled seeds of scores of shape (n_resamples, n_seeds).

    A few seeds vary less among themselves than around their expectation, by (m - 1) / m of the
    variance; what is drawn is spread out by the root of that.
    """
    n_seeds = values.shape[1]
    centre = values.mean(axis=1)
    if n_seeds == 1:
        return np.asarray(centre)
    drawn = np.take_along_axis(values, draw.integers(n_seeds, size=values.shape), axis=1)
    return np.asarray(centre + np.sqrt(n_seeds / (n_seeds - 1)) * (drawn.mean(axis=1) - centre))


def daily_means(losses: Floats, days: np.ndarray) -> Floats:
    """Return the mean of daily values on each sample of days.

    Args:
        losses: shape (n_seeds, n_days).
        days: shape (n_resamples, n_days).

    Returns: shape (n_resamples, n_seeds).
    """
    n_days = losses.shape[1]
    counts = np.stack([np.bincount(row, minlength=n_days) for row in days])
    return np.asarray(counts @ losses.T / n_days)


def score_samples(
    score: Callable[[Floats, Floats], float], p: Floats, y: Floats, days: np.ndarray
) -> Floats:
    """Return any score of probabilities on each sample of days, shape (n_resamples, n_seeds)."""
    return np.array([[score(seed[row], y[row]) for seed in p] for row in days])
