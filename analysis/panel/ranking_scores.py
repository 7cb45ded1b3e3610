"""The scores of a model's ranking over all days of a part, each with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.panel.day_scores import DailyScores
from analysis.statistics.day_resampling import DaySamples, daily_means, mean_over_seeds
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate, estimate
from study.statistics.rank_scores import icir

_DAYS_A_YEAR = 252
"""Trading days of a year, by which ``study.statistics.rank_scores.sharpe`` is annualised too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankingScores:
    """Scores of one model, means over days and seeds; intervals hold both."""

    rank_ic: Estimate
    by_seed: Mapping[int, Estimate]
    """RankIC of each run by itself, whose interval is that of its days; empty without seeds."""
    ic: Estimate
    icir: Estimate | None
    """Mean daily RankIC over its standard deviation; None where that is 0."""
    hit_rate: Estimate
    sharpe: Estimate | None
    """Sharpe ratio of the long-short portfolio, a year, before costs; None if it never varies."""
    sharpe_net: Estimate | None
    """The same after costs."""
    turnover: Estimate


def score_ranking(daily: DailyScores, days: DaySamples, horizon: int) -> RankingScores:
    """Return the scores of a model.

    Args:
        daily: its scores day by day.
        days: samples of these days.
        horizon: days of holding.
    """
    seeds = zip(daily.seeds, daily.rank_ic, strict=True)
    a_year = float(np.sqrt(_DAYS_A_YEAR / horizon))
    return RankingScores(
        rank_ic=mean_score(daily.rank_ic, days),
        by_seed={
            seed: estimate(float(own.mean()), daily_means(own[None], days)[:, 0])
            for seed, own in seeds
            if seed is not None
        },
        ic=mean_score(daily.ic, days),
        icir=_ratio(daily.rank_ic, days, 1),
        hit_rate=mean_score(daily.hit_rate, days),
        sharpe=_ratio(daily.earned, days, a_year),
        sharpe_net=_ratio(daily.net, days, a_year),
        turnover=mean_score(daily.turnover, days),
    )


def mean_score(values: Floats, days: DaySamples) -> Estimate:
    """Return the mean of daily scores over days and seeds.

    Args:
        values: shape (n_seeds, n_days).
        days: samples of the days.
    """
    spread = mean_over_seeds(daily_means(values, days), np.random.default_rng(0))
    return estimate(float(values.mean()), spread)


def _ratio(values: Floats, days: DaySamples, scale: float) -> Estimate | None:
    """Return the mean over seeds of mean / standard deviation; None if a seed never varies.

    Args:
        values: shape (n_seeds, n_days).
        days: samples of the days.
        scale: by which the ratio is multiplied.
    """
    known = [ratio for own in values if (ratio := icir(own)) is not None]
    if len(known) < len(values):
        return None
    centre = values.mean(axis=1, keepdims=True)
    # Squares about the mean of all days do not cancel as those about zero would.
    moved, squares = days.means(values - centre), days.means((values - centre) ** 2)
    n = values.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        sampled = (moved + centre.T) / np.sqrt((squares - moved**2) * n / (n - 1))
    spread = days.stretched(sampled, np.array(known))
    mean = mean_over_seeds(scale * spread, np.random.default_rng(0))
    return estimate(scale * float(np.mean(known)), mean)
