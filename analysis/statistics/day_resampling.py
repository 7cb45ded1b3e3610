"""Resampled days, from which every interval of a score comes, and means over them and seeds."""

from dataclasses import dataclass

import numpy as np
from arch.bootstrap import StationaryBootstrap

from analysis.statistics.floats import Floats
from study.statistics.block_length import judged_block_days

N_RESAMPLES = 1000
"""Bootstrap resamples of days: an end of a 95 % interval rests on 25 of them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DaySamples:
    """Samples of blocks of days, and how far the truth may be beside them.

    Samples are as far from all days as blocks of these days show. The days that could come are
    further away: few blocks show too little of a mean's variance, and it is itself known badly from
    them. Each sample is moved away from all days by a factor of its own, so that a mean divided by
    its error has the heavy tails that it has with few blocks.
    """

    counts: Floats
    """How often each day is in each sample, shape (n_resamples, n_days), each row of sum n_days."""
    stretch: Floats
    """Factor by which the distance of each sample from all days grows, shape (n_resamples,)."""
    shown: float
    """Share of a mean's variance that samples show on average, above 0."""

    def means(self, values: Floats) -> Floats:
        """Return the mean of daily values in each sample, as it is, shape (n_resamples, n_seeds).

        Args:
            values: shape (n_seeds, n_days).
        """
        return np.asarray(self.counts @ values.T / values.shape[1])

    def stretched(self, sampled: Floats, value: Floats) -> Floats:
        """Return scores of samples, moved away from that of all days.

        Args:
            sampled: scores of each sample, shape (n_resamples, n_seeds).
            value: the same scores of all days, shape (n_seeds,).
        """
        return np.asarray(value + self.stretch[:, None] * (sampled - value))


def resampled_days(
    n_days: int,
    horizon: int,
    *,
    n_part_days: int | None = None,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> DaySamples:
    """Return stationary block bootstrap samples of days.

    Blocks of geometric length, ``judged_block_days`` on average, begin on any day and wrap around
    the end (Politis and Romano 1994, https://doi.org/10.1080/01621459.1994.10476870). The same seed
    gives every model of a horizon the same days, so that differences stay paired.

    Args:
        n_days: number of days.
        horizon: of the labels, days.
        n_part_days: number of days of the part of which these are some; None if they are all.
        seed: of the samples.
        n_resamples: number of samples.
    """
    block = judged_block_days(horizon, n_days if n_part_days is None else n_part_days)
    bootstrap = StationaryBootstrap(block, np.arange(n_days), seed=seed)
    drawn = (data[0] for data, _ in bootstrap.bootstrap(n_resamples))
    counts = np.stack([np.bincount(days, minlength=n_days) for days in drawn])
    shares = variance_shares(n_days, block, horizon)
    # Not the numbers that have drawn the days.
    draw = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    shown = draw.standard_exponential((n_resamples, len(shares))) @ shares
    return DaySamples(
        counts=counts.astype(np.float64), stretch=1 / np.sqrt(shown), shown=float(shares.sum())
    )


def variance_shares(n_days: int, block: float, horizon: int) -> Floats:
    """Return what each frequency adds to the share of a mean's variance that blocks show.

    The variance of a mean in stationary bootstrap samples is a sum over the frequencies of the days
    but 0: their periodogram times the transform of the weights with which the bootstrap counts the
    covariance of days (Politis and Romano 1994, lemma 1). Of normal noise that is summed over the
    horizon, as overlapping labels sum it, periodograms are independent, exponential, and
    independent of the mean. So the share is a sum of independent exponential values, each times
    what is returned: with the length of blocks as a fixed share of the days, as Kiefer and
    Vogelsang (2005, https://doi.org/10.1017/S0266466605050565) take it, that is what any noise of
    short memory has. It is below 1 on average, because samples are centred on the days' own mean
    and blocks cut days apart that hang together, and it varies the more the fewer blocks there are.
    A mean over its error is then spread like a normal value over the root of the share.

    Args:
        n_days: number of days, three at least.
        block: mean length of blocks, days.
        horizon: of the labels, days.

    Returns: shape ((n_days - 1) // 2,): frequencies k and n - k together. The one at n / 2, of an
        even number of days, is left out: it adds at most 1 / (2 block n).
    """
    lag = np.arange(n_days)
    stays = 1 - 1 / block
    weights = (1 - lag / n_days) * stays**lag + lag / n_days * stays ** (n_days - lag)
    rows = slice(1, (n_days - 1) // 2 + 1)
    angle = np.pi * lag[rows] / n_days
    overlap = (np.sin(horizon * angle) / (horizon * np.sin(angle))) ** 2
    return np.asarray(2 / n_days * np.fft.fft(weights).real[rows] * overlap)


def daily_means(values: Floats, days: DaySamples) -> Floats:
    """Return the mean of daily values as other days may have it, one for each sample of days.

    Args:
        values: shape (n_seeds, n_days).
        days: samples of these days.

    Returns: shape (n_resamples, n_seeds).
    """
    return days.stretched(days.means(values), values.mean(axis=1))


def daily_mean_losses(losses: Floats, days: DaySamples) -> Floats:
    """Return what ``daily_means`` does of losses above zero, none of which may be at or below it.

    Samples are moved away from all days in logs.
    """
    return np.exp(days.stretched(np.log(days.means(losses)), np.log(losses.mean(axis=1))))


def effective_days(values: Floats, days: DaySamples) -> float:
    """Return how many independent days would show the mean of daily values as well as these do.

    The variance of single days over that of the mean in samples of blocks of days (the effective
    sample size of a correlated series, Kish 1965), as far as blocks show it. Counting how labels
    overlap sees no calm and stormy months, and takes nearly equal labels of neighbouring days for
    one.

    Args:
        values: of the days, shape (n_days,), not all equal.
        days: samples of blocks of days.

    Returns: at most the number of days; NaN where all values are equal.
    """
    variance = float(days.means(values[None]).var(ddof=1)) / days.shown
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
