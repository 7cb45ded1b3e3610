"""A market whose best possible forecast is known exactly."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.data.arrays import PriceArray
from study.data.prices import Prices, prices_from_frame

# GARCH(1, 1) of the daily variance, near that of a broad index: 1.2 % a day on average.
_CONSTANT = 2.88e-6
_WEIGHT_OF_RETURN = 0.08
_WEIGHT_OF_PAST = 0.90
_FIRST_VARIANCE = 1.44e-4

_DEFAULT_DAYS, _DEFAULT_SEED = 5_031, 7
_GRID, _N_PATHS = 60, 40_000

_FIRST_PRICE = 100.0
_FIRST_DAY = np.datetime64("1900-01-01")
_MEAN_VOLUME = 1e9
_VOLUME_SD = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticMarket:
    """Daily bars and the variance that made them."""

    prices: Prices
    next_variance: PriceArray
    """Variance of the next day's log return, known on each day; shape (n_days,)."""


def default_market() -> SyntheticMarket:
    """Return the market of the source ``synthetic``: as long as the embedded S&P 500."""
    return simulate_market(n_days=_DEFAULT_DAYS, seed=_DEFAULT_SEED)


def next_variances(close: PriceArray) -> PriceArray:
    """Return the variance of the next day's log return from the closes of a market from its start.

    Anybody who knows the law of the market knows it on each day; shape (n_days,).
    """
    returns = np.diff(np.log(close), prepend=math.log(_FIRST_PRICE))
    found = np.empty(len(close))
    variance = _FIRST_VARIANCE
    for day, change in enumerate(returns):
        variance = _CONSTANT + _WEIGHT_OF_RETURN * change**2 + _WEIGHT_OF_PAST * variance
        found[day] = variance
    return found


def bayes_probability(
    next_variance: PriceArray, *, horizon: int = 1, threshold: float = 0.01
) -> PriceArray:
    """Return P(High reaches Close * (1 + threshold) within ``horizon`` days) given the past.

    Inside a day the log price is a driftless Brownian path from the close before. For one day the
    reflection principle gives 2 * Phi(-log(1 + threshold) / sd) exactly. For more, the chance is a
    function of the next day's variance alone: tabulated by simulated closes, between which the
    chance of a Brownian bridge to stay below is exact, and interpolated. No forecast of the label
    ``high`` can score better, except by chance.

    Args:
        next_variance: shape (n_days,).
        horizon: trading days, >= 1.
        threshold: return to be reached, 0.01 for 1 %.

    Returns: float64 of shape (n_days,).
    """
    level = math.log1p(threshold)
    if horizon == 1:
        # A third of a second, which the workers of a search need not wait for.
        from scipy.special import ndtr

        exact: PriceArray = 2 * ndtr(-level / np.sqrt(next_variance))
        return exact
    grid = np.geomspace(next_variance.min(), next_variance.max(), _GRID)
    table = [_chance_to_reach(variance, horizon, level) for variance in grid]
    found: PriceArray = np.interp(np.log(next_variance), np.log(grid), table)
    return found


def _chance_to_reach(variance: float, horizon: int, level: float) -> float:
    # The same draws for every variance: what noise is left is the same along the table.
    half = np.random.default_rng(0).standard_normal((_N_PATHS // 2, horizon))
    normals = np.concatenate((half, -half))
    place, stays = np.zeros(len(normals)), np.ones(len(normals))
    variances = np.full(len(normals), variance)
    for day in range(horizon):
        change = np.sqrt(variances) * normals[:, day]
        after = place + change
        below = np.maximum(level - place, 0) * np.maximum(level - after, 0)
        stays *= -np.expm1(-2 * below / variances)
        variances = _CONSTANT + _WEIGHT_OF_RETURN * change**2 + _WEIGHT_OF_PAST * variances
        place = after
    return float(1 - stays.mean())


def simulate_market(*, n_days: int, seed: int) -> SyntheticMarket:
    """Draw daily bars from a GARCH market with Brownian paths inside the day.

    Open is the previous Close. High and Low are drawn from the exact law of a Brownian bridge's
    maximum and minimum, each by itself: their joint law is not kept, so the range is a little off.
    Volume is noise and tells nothing.

    Args:
        n_days: bars to draw.
        seed: the seed of the one generator that draws everything.
    """
    generator = np.random.default_rng(seed)
    normals = generator.standard_normal(n_days)
    log_uniforms = np.log1p(-generator.random((2, n_days)))
    returns, next_variance = np.empty(n_days), np.empty(n_days)
    variances = np.empty(n_days)
    variance = _FIRST_VARIANCE
    for day in range(n_days):
        variances[day] = variance
        returns[day] = math.sqrt(variance) * normals[day]
        variance = _CONSTANT + _WEIGHT_OF_RETURN * returns[day] ** 2 + _WEIGHT_OF_PAST * variance
        next_variance[day] = variance
    # Maximum of a bridge that ends at r: (r + sqrt(r^2 - 2 s^2 log U)) / 2; minimum by symmetry.
    reach = np.sqrt(returns**2 - 2 * variances * log_uniforms)
    log_close = math.log(_FIRST_PRICE) + np.cumsum(returns)
    log_open = np.append(math.log(_FIRST_PRICE), log_close[:-1])
    days = np.busday_offset(np.full(n_days, _FIRST_DAY), np.arange(n_days))
    frame = pd.DataFrame(
        {
            "Open": np.exp(log_open),
            "High": np.exp(log_open + (returns + reach[0]) / 2),
            "Low": np.exp(log_open + (returns - reach[1]) / 2),
            "Close": np.exp(log_close),
            "Volume": _MEAN_VOLUME * np.exp(_VOLUME_SD * generator.standard_normal(n_days)),
        },
        index=pd.DatetimeIndex(days, name="Date"),
    )
    origin = f"simulate_market seed {seed}"
    # Nobody has traded on any of these days: a long market may reach into the future.
    prices = prices_from_frame("synthetic", frame, origin, accept=["future-days"])
    return SyntheticMarket(prices=prices, next_variance=next_variance)
