"""Tier c: the features of the volatility index that it adds to a25, on the index's own days."""

from collections.abc import Callable

import numpy as np

from study.data.arrays import DayArray, PriceArray
from study.data.features.feature import Bars, FeatureSpec, InputRule, feature
from study.data.features.rolling import (
    BoolArray,
    percent_change,
    percentile_below,
    ratio,
    trailing_mean,
    trailing_sd,
)
from study.data.vix_series import VixSeries


def _zscore(values: PriceArray) -> PriceArray:
    return ratio(values - trailing_mean(values, 20), trailing_sd(values, 20))


def _regime(values: PriceArray) -> PriceArray:
    return np.digitize(values, (15.0, 25.0)).astype(np.float64)


def on_days(days: DayArray, vix: VixSeries, values: PriceArray) -> PriceArray:
    """Return the values at given days, NaN where the index has none: nothing is filled in.

    Args:
        days: datetime64[D], in any order.
        vix: the index.
        values: one per day of the index.
    """
    at = np.searchsorted(vix.days, days).clip(0, len(vix.days) - 1)
    return np.where(vix.days[at] == days, values[at], np.nan)


def has_vix(days: DayArray, vix: VixSeries) -> BoolArray:
    """Return for each day whether all features made of the index are known."""
    full = np.arange(len(vix.days)) >= LOOK_BACK - 1
    known: BoolArray = on_days(days, vix, full.astype(np.float64)) == 1
    return known


def _vix(
    name: str,
    formula: str,
    look_back: int,
    compute: Callable[[PriceArray], PriceArray],
    to_input: InputRule = "as_is",
) -> FeatureSpec:
    """Return the spec of a feature that ``compute`` makes of the index's values."""

    def on_bars(bars: Bars) -> PriceArray:
        assert bars.vix is not None
        return on_days(bars.days, bars.vix, compute(bars.vix.values))

    return feature(name, formula, look_back, on_bars, to_input, source="vix")


ADDED: tuple[FeatureSpec, ...] = (
    _vix("vix_close", "VIX of the day", 1, lambda vix: vix, "log"),
    _vix("vix_sma_10", "mean of VIX, 10 days", 10, lambda vix: trailing_mean(vix, 10), "log"),
    _vix("vix_sma_20", "mean of VIX, 20 days", 20, lambda vix: trailing_mean(vix, 20), "log"),
    _vix(
        "vix_percentile_60d",
        "100 (number of the 59 values before that are strictly below VIX) / 59",
        60,
        lambda vix: percentile_below(vix, 60),
        "centred_percent",
    ),
    _vix("vix_zscore_20d", "(VIX - mean) / sd (ddof 1), 20 days; 0 if no sd", 20, _zscore),
    _vix("vix_regime", "0 if VIX < 15, 1 if 15 <= VIX < 25, 2 if VIX >= 25", 1, _regime),
    _vix(
        "vix_change_1d",
        "100 (VIX / VIX 1 day before - 1)",
        2,
        lambda vix: percent_change(vix, 1),
    ),
    _vix(
        "vix_change_5d",
        "100 (VIX / VIX 5 days before - 1)",
        6,
        lambda vix: percent_change(vix, 5),
    ),
)

LOOK_BACK = max(spec.look_back for spec in ADDED)
"""Values of the index before the first day of tier c, that day's included."""
