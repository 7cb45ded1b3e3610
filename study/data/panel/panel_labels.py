"""Labels of a panel: what each asset earns over the next days, and what training aims at."""

from dataclasses import dataclass

import numpy as np

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.data_config import Target
from study.data.panel.panel import MaskArray
from study.statistics.tied_ranks import FEWEST_ASSETS, average_ranks

VOLATILITY_DAYS = 20
"""Days of the market's volatility, about a month of trading days."""

_CUT = 3 * 1.4826
"""Distance from the median at which returns are cut, in median absolute deviations: three standard
deviations of a normal distribution, one of which is 1.4826 such deviations."""

_CHUNK_DAYS = 256
"""Days whose ranks are computed at once: 4,000 assets then need some 50 MB beside the result."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HorizonLabels:
    """The labels of one horizon, each of shape (n_days, n_assets), NaN where unknown."""

    horizon: int
    """Trading days that the returns look ahead."""
    returns: SampleArray
    """Returns, as ``labelled_returns`` gives them."""
    targets: SampleArray
    """What training aims at, computed from ``returns`` across each day."""


def returns_ahead(close: PriceArray, horizon: int) -> SampleArray:
    """Return what each asset's close gains over the next ``horizon`` days of the calendar.

    An asset that ends within the horizon has no return, and is left out of the ranking of its day,
    whatever it would have lost: all scores are conditional on assets that survive to t + h.

    Args:
        close: closes of shape (n_days, n_assets), NaN where an asset has none.
        horizon: days ahead, >= 1.

    Returns: simple returns, float32 of the same shape; NaN where the asset has no close on the day
        or on the day at the horizon, so for its last ``horizon`` days.
    """
    found = np.full(close.shape, np.nan, dtype=np.float32)
    if len(close) > horizon:
        found[:-horizon] = close[horizon:] / close[:-horizon] - 1
    return found


def labelled_returns(returns: SampleArray, present: MaskArray) -> SampleArray:
    """Return the returns of the assets that are ranked, NaN on days that cannot be ranked.

    These are days with fewer than three such assets, and days whose returns are all equal, on which
    no rank correlation is defined.

    Args:
        returns: as ``returns_ahead`` gives them.
        present: which assets are ranked, of the same shape.
    """
    found = np.where(present, returns, np.float32("nan"))
    known = np.isfinite(found)
    highest = np.where(known, found, -np.inf).max(axis=1)
    lowest = np.where(known, found, np.inf).min(axis=1)
    found[(known.sum(axis=1) < FEWEST_ASSETS) | (highest <= lowest)] = np.nan
    return found


def make_targets(returns: SampleArray, target: Target) -> SampleArray:
    """Return what training aims at, computed from the labelled returns of each day by themselves.

    Args:
        returns: as ``labelled_returns`` gives them, shape (n_days, n_assets).
        target: ``rank`` gives normal scores, the standard normal quantiles of (rank - 1/2) / n with
            the average rank of ties; ``z`` the returns less their mean, over their standard
            deviation; ``winsorized`` the same of returns cut at median +- 3 x 1.4826 median
            absolute deviations, which cuts nothing where more than half of them are equal.

    Returns: float32 of the same shape, NaN where ``returns`` is.
    """
    found = np.full(returns.shape, np.nan, dtype=np.float32)
    labelled = np.flatnonzero(np.isfinite(returns).any(axis=1))
    for start in range(0, len(labelled), _CHUNK_DAYS):
        days = labelled[start : start + _CHUNK_DAYS]
        found[days] = (
            _normal_scores(returns[days])
            if target == "rank"
            else _z(returns[days].astype(np.float64), cuts=target == "winsorized")
        )
    return found


def _normal_scores(returns: SampleArray) -> PriceArray:
    # Not at the top: a command that builds no targets does not wait for scipy.
    from scipy.special import ndtri

    known = np.isfinite(returns).sum(axis=1, keepdims=True)
    scores: PriceArray = ndtri((average_ranks(returns) - 0.5) / known)
    return scores


def _z(returns: PriceArray, *, cuts: bool) -> PriceArray:
    if cuts:
        median = np.nanmedian(returns, axis=1, keepdims=True)
        reach = _CUT * np.nanmedian(np.abs(returns - median), axis=1, keepdims=True)
        reach[reach == 0] = np.inf
        returns = np.clip(returns, median - reach, median + reach)
    centred = returns - np.nanmean(returns, axis=1, keepdims=True)
    z: PriceArray = centred / np.sqrt(np.nanmean(centred**2, axis=1, keepdims=True))
    return z


def market_volatility(close: PriceArray) -> PriceArray:
    """Return the mean absolute return of the equal-weighted market over the days up to each.

    Args:
        close: closes of shape (n_days, n_assets), NaN where an asset has none.

    Returns: float64 of shape (n_days,), NaN for the first ``VOLATILITY_DAYS`` days, and where no
        asset has a return on one of the days.
    """
    change = close[1:] / close[:-1] - 1
    known = np.isfinite(change)
    n_known = known.sum(axis=1)
    total = np.where(known, change, 0.0).sum(axis=1)
    market = np.full(len(close), np.nan)
    np.divide(total, n_known, out=market[1:], where=n_known > 0)
    found = np.full(len(close), np.nan)
    if len(close) > VOLATILITY_DAYS:
        windows = np.lib.stride_tricks.sliding_window_view(np.abs(market), VOLATILITY_DAYS)
        found[VOLATILITY_DAYS - 1 :] = windows.mean(axis=1)
    return found


def relative_volatility(volatility: PriceArray, train_days: IndexArray) -> SampleArray:
    """Return volatilities over their median of the training days; 1 where either is unknown or 0.

    Args:
        volatility: as ``market_volatility`` gives it.
        train_days: rows of the training days in it.
    """
    of_training = volatility[train_days]
    of_training = of_training[np.isfinite(of_training)]
    usual = float(np.median(of_training)) if len(of_training) else 0.0
    found = np.ones(len(volatility), dtype=np.float32)
    if usual > 0:
        np.divide(volatility, usual, out=found, where=np.isfinite(volatility), casting="same_kind")
    return found
