"""Tier a200, states: divergences, the order of returns, regimes and the calendar."""

from collections.abc import Callable
from itertools import permutations
from math import factorial, log

import numpy as np
import talib

from study.data.arrays import DayArray, IndexArray, PriceArray
from study.data.features.a50 import YEAR, macd_line, realized_volatility, rsi
from study.data.features.a100_momentum import money_flow_index
from study.data.features.feature import Bars, FeatureSpec, feature
from study.data.features.rolling import (
    change,
    highest,
    percentile_below,
    position_in_range,
    trailing_mean,
    trailing_sum,
)


def _divergence(
    name: str,
    what: str,
    look_back: int,
    series: Callable[[Bars], PriceArray],
    *,
    n_days: int = 20,
    recursive: bool = False,
) -> FeatureSpec:
    """Return the spec of the gap between the places of Close and an indicator in their ranges."""
    return feature(
        f"{name}_divergence_{n_days}d",
        f"place of Close less place of {what} in its range (0 to 1), {n_days} days",
        look_back + n_days - 1,
        lambda bars: (
            position_in_range(bars.close, n_days) - position_in_range(series(bars), n_days)
        ),
        recursive=recursive,
    )


def _signed_volume(bars: Bars) -> PriceArray:
    """Return the change of the on-balance volume over 20 days, whose level means nothing."""
    return trailing_sum(np.sign(change(bars.close, 1)) * bars.volume, 20)


def _accumulation(bars: Bars) -> PriceArray:
    oscillator: PriceArray = talib.ADOSC(bars.high, bars.low, bars.close, bars.volume, 3, 10)
    return oscillator


def permutation_entropy(values: PriceArray, order: int, n_days: int) -> PriceArray:
    """Return the entropy of the rank patterns of ``order`` values in a row, 0 to 1.

    Bandt and Pompe, Physical Review Letters 88 (2002) 174102; equal values rank by their age.

    Args:
        values: shape (n_bars,), NaN at most at the front.
        order: values per pattern.
        n_days: patterns per window.
    """
    entropy = np.full(len(values), np.nan)
    first = int(np.isnan(values).sum()) + order - 1
    if len(values) < first + n_days:
        return entropy
    stretches = np.lib.stride_tricks.sliding_window_view(values[first - order + 1 :], order)
    ranks = np.argsort(stretches, axis=1, kind="stable")
    codes = (ranks * order ** np.arange(order)[::-1]).sum(axis=1)
    # Every pattern has a column, seen or not: days to come cannot change how a row is summed.
    patterns = np.array(list(permutations(range(order)))) * order ** np.arange(order)[::-1]
    counts = np.zeros((len(codes) + 1, len(patterns)), dtype=np.int32)
    counts[np.arange(len(codes)) + 1, np.searchsorted(patterns.sum(axis=1), codes)] = 1
    counts = counts.cumsum(axis=0)
    shares = (counts[n_days:] - counts[:-n_days]) / n_days
    information = -shares * np.log(np.where(shares > 0, shares, 1.0))
    entropy[first + n_days - 1 :] = information.sum(axis=1) / log(factorial(order))
    return entropy


def _entropy(order: int, n_days: int) -> FeatureSpec:
    return feature(
        f"permutation_entropy_{order}",
        f"entropy of the order of {order} closes in a row / ln {order}!, {n_days} days",
        order + n_days - 1,
        lambda bars: permutation_entropy(bars.close, order, n_days),
    )


def _trend_regime(bars: Bars) -> PriceArray:
    short, long = talib.SMA(bars.close, 50), talib.SMA(bars.close, 200)
    up = (bars.close > short) & (short > long)
    down = (bars.close < short) & (short < long)
    return up.astype(np.float64) - down


def _third(percentile: PriceArray) -> PriceArray:
    return np.digitize(percentile, (100 / 3, 200 / 3)).astype(np.float64)


def _drawdown_regime(bars: Bars) -> PriceArray:
    drawdown = 100 * (1 - bars.close / highest(bars.close, 252))
    return np.digitize(drawdown, (5.0, 10.0, 20.0)).astype(np.float64)


def _rogers_satchell(bars: Bars) -> PriceArray:
    up = np.log(bars.high / bars.close) * np.log(bars.high / bars.open)
    down = np.log(bars.low / bars.close) * np.log(bars.low / bars.open)
    # A vendor's rounding may leave the Close a last digit outside.
    return 100 * YEAR * np.sqrt(np.maximum(trailing_mean(up + down, 20), 0))


def _vortex(bars: Bars) -> PriceArray:
    up, down = talib.VORTEX(bars.high, bars.low, bars.close, 14)
    spread: PriceArray = up - down
    return spread


def _weekday(bars: Bars) -> PriceArray:
    # 1970-01-01 was a Thursday: three days on, weeks begin on Monday.
    return ((bars.days.astype(np.int64) + 3) % 7).astype(np.float64)


def _month(bars: Bars) -> PriceArray:
    return (bars.days.astype("datetime64[M]").astype(np.int64) % 12).astype(np.float64)


def _days_to_month_end(bars: Bars) -> PriceArray:
    next_month = bars.days.astype("datetime64[M]") + 1
    return (next_month.astype("datetime64[D]") - bars.days).astype(np.float64) - 1


def _days_to_quarter_end(bars: Bars) -> PriceArray:
    month = bars.days.astype("datetime64[M]").astype(np.int64)
    next_quarter = ((month // 3 + 1) * 3).astype("datetime64[M]")
    return (next_quarter.astype("datetime64[D]") - bars.days).astype(np.float64) - 1


def _days_to_third_friday(bars: Bars) -> PriceArray:
    def third_friday(months: DayArray) -> IndexArray:
        firsts = months.astype("datetime64[D]").astype(np.int64)
        # Day number 1 was a Friday.
        return firsts + (1 - firsts) % 7 + 14

    months, today = bars.days.astype("datetime64[M]"), bars.days.astype(np.int64)
    this, following = third_friday(months), third_friday(months + 1)
    return np.where(this >= today, this, following).astype(np.float64) - today


def _days_since_last_bar(bars: Bars) -> PriceArray:
    return np.append(np.nan, np.diff(bars.days).astype(np.float64)).clip(0, 7)


ADDED: tuple[FeatureSpec, ...] = (
    _divergence("rsi", "RSI14", 15, rsi, recursive=True),
    _divergence("rsi", "RSI14", 15, rsi, n_days=60, recursive=True),
    _divergence("macd", "macd_line", 34, macd_line, recursive=True),
    _divergence("obv", "signed Volume summed over 20 days", 21, _signed_volume),
    _divergence("mfi", "mfi_14", 15, money_flow_index),
    _divergence("adosc", "adosc", 10, _accumulation, recursive=True),
    _entropy(3, 60),
    _entropy(4, 60),
    _entropy(5, 120),
    feature(
        "regime_trend",
        "1 if Close > sma_50 > sma_200, -1 if Close < sma_50 < sma_200, else 0",
        200,
        _trend_regime,
    ),
    feature(
        "regime_volatility",
        "third (0, 1, 2) of realized_vol_20d among its 200 days",
        220,
        lambda bars: _third(percentile_below(realized_volatility(bars, 20), 200)),
    ),
    feature(
        "regime_volume",
        "third (0, 1, 2) of the mean Volume of 20 days among its 200 days",
        219,
        lambda bars: _third(percentile_below(trailing_mean(bars.volume, 20), 200)),
    ),
    feature(
        "regime_adx",
        "0 if adx_14 < 20, 1 if 20 <= adx_14 < 30, 2 if adx_14 >= 30",
        28,
        lambda bars: np.digitize(
            talib.ADX(bars.high, bars.low, bars.close, 14), (20.0, 30.0)
        ).astype(np.float64),
        recursive=True,
    ),
    feature(
        "regime_rsi",
        "0 if RSI14 < 40, 1 if 40 <= RSI14 < 60, 2 if RSI14 >= 60",
        15,
        lambda bars: np.digitize(rsi(bars), (40.0, 60.0)).astype(np.float64),
        recursive=True,
    ),
    feature(
        "regime_drawdown",
        "number of 5, 10, 20 that the % of Close below its highest of 252 days reaches",
        252,
        _drawdown_regime,
    ),
    feature(
        "rogers_satchell_vol_20d",
        "sqrt(mean of ln(H/C) ln(H/O) + ln(L/C) ln(L/O)), 20 days, % per year",
        20,
        _rogers_satchell,
    ),
    feature("vortex_spread_14", "+VI14 - -VI14", 15, _vortex),
    feature(
        "weekday_sin",
        "sine of the weekday, 7 days a turn, Monday 0",
        1,
        lambda bars: np.sin(2 * np.pi * _weekday(bars) / 7),
    ),
    feature(
        "weekday_cos",
        "cosine of the weekday, 7 days a turn, Monday 0",
        1,
        lambda bars: np.cos(2 * np.pi * _weekday(bars) / 7),
    ),
    feature(
        "month_sin",
        "sine of the month, 12 months a turn, January 0",
        1,
        lambda bars: np.sin(2 * np.pi * _month(bars) / 12),
    ),
    feature(
        "month_cos",
        "cosine of the month, 12 months a turn, January 0",
        1,
        lambda bars: np.cos(2 * np.pi * _month(bars) / 12),
    ),
    feature("days_to_month_end", "calendar days left in the month", 1, _days_to_month_end),
    feature("days_to_quarter_end", "calendar days left in the quarter", 1, _days_to_quarter_end),
    feature(
        "days_to_third_friday",
        "calendar days to the next third Friday of a month, 0 on it",
        1,
        _days_to_third_friday,
    ),
    feature(
        "days_since_last_bar",
        "calendar days since the bar before, at most 7",
        2,
        _days_since_last_bar,
    ),
)
