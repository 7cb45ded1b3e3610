"""A market whose best possible forecast is known exactly."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from study.data.arrays import PriceArray
from study.data.sources import Prices, prices_from_frame

# GARCH(1, 1) of the daily variance, near that of a broad index: 1.2 % a day on average.
_CONSTANT = 2.88e-6
_WEIGHT_OF_RETURN = 0.08
_WEIGHT_OF_PAST = 0.90
_FIRST_VARIANCE = 1.44e-4

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

    def bayes_probability(self, threshold: float = 0.01) -> PriceArray:
        """Return P(next High >= Close * (1 + threshold)) given the past, exactly.

        Inside a day the log price is a driftless Brownian path from the close before, so by the
        reflection principle the chance is 2 * Phi(-log(1 + threshold) / sd). No forecast with
        horizon 1 and the label ``high`` can score better than these, except by chance.

        Args:
            threshold: return to be reached, 0.01 for 1 %.

        Returns: float64 of shape (n_days,).
        """
        probability: PriceArray = 2 * ndtr(-math.log1p(threshold) / np.sqrt(self.next_variance))
        return probability


def simulate_market(*, n_days: int, seed: int) -> SyntheticMarket:
    """Draw daily bars from a GARCH market with Brownian paths inside the day.

    Open is the previous Close. High and Low are drawn from the exact law of a Brownian bridge's
    maximum and minimum, each by itself: their joint law is not kept, so the range is a little off.
    Volume is noise and tells nothing.

    Args:
        n_days: bars to draw.
        seed: of the one generator that draws everything.
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
    prices = prices_from_frame("synthetic", frame, origin=f"simulate_market seed {seed}")
    return SyntheticMarket(prices=prices, next_variance=next_variance)
