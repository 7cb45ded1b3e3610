"""Tier a50: the features that it adds to a25, none of them made of the volatility index."""

from math import sqrt

import numpy as np
import pandas as pd
import talib

from study.data.arrays import PriceArray
from study.data.features.feature import Bars, FeatureSpec, feature
from study.data.features.rolling import (
    change,
    earlier,
    percent_change,
    ratio,
    trailing_mean,
    trailing_sd,
)

YEAR = sqrt(252)
"""Factor from a day's standard deviation to a year's, in trading days."""
_EWMA_DECAY = 0.94
"""Decay of daily variances, from the technical document of RiskMetrics (1996)."""
_LARGEST_SORTINO = 20.0
"""Largest Sortino ratio: a window without losses has no downside at all."""


def rsi(bars: Bars) -> PriceArray:
    """Return Wilder's RSI14 of Close."""
    values: PriceArray = talib.RSI(bars.close, 14)
    return values


def log_returns(bars: Bars) -> PriceArray:
    """Return the log return of each day, NaN on the first."""
    return np.log(bars.close / earlier(bars.close, 1))


def realized_volatility(bars: Bars, n_days: int) -> PriceArray:
    """Return the sample sd of log returns, in percent per year."""
    return 100 * YEAR * trailing_sd(log_returns(bars), n_days)


def atr_percent(bars: Bars) -> PriceArray:
    """Return the Wilder mean true range of 14 days in percent of Close."""
    percent: PriceArray = 100 * talib.ATR(bars.high, bars.low, bars.close, 14) / bars.close
    return percent


def band_width(bars: Bars) -> PriceArray:
    """Return the width of the Bollinger bands in percent of their middle."""
    upper, middle, lower = talib.BBANDS(bars.close, 20, 2.0, 2.0)
    width: PriceArray = 100 * (upper - lower) / middle
    return width


def macd_line(bars: Bars) -> PriceArray:
    """Return EMA12 - EMA26 of the close."""
    line: PriceArray = talib.MACD(bars.close, 12, 26, 9)[0]
    return line


def macd_histogram(bars: Bars) -> PriceArray:
    """Return the MACD line 12/26 less its signal 9."""
    histogram: PriceArray = talib.MACD(bars.close, 12, 26, 9)[2]
    return histogram


def _return(n_days: int) -> FeatureSpec:
    return feature(
        f"return_{n_days}d",
        f"100 (Close / Close {n_days} days before - 1)",
        n_days + 1,
        lambda bars: percent_change(bars.close, n_days),
    )


def _sharpe(bars: Bars, n_days: int) -> PriceArray:
    returns = percent_change(bars.close, 1)
    return YEAR * ratio(trailing_mean(returns, n_days), trailing_sd(returns, n_days))


def _sortino(bars: Bars, n_days: int) -> PriceArray:
    returns = percent_change(bars.close, 1)
    downside = np.sqrt(trailing_mean(np.minimum(returns, 0) ** 2, n_days))
    mean = trailing_mean(returns, n_days)
    value = ratio(YEAR * mean, downside)
    lossless = (downside == 0) & (mean > 0)
    return np.where(lossless, _LARGEST_SORTINO, value).clip(-_LARGEST_SORTINO, _LARGEST_SORTINO)


def _expected_volatility(bars: Bars) -> PriceArray:
    """Return the RiskMetrics forecast of the next day's volatility, in percent per year."""
    squares = pd.Series(log_returns(bars)[1:] ** 2)
    variance = squares.ewm(alpha=1 - _EWMA_DECAY, adjust=False).mean().to_numpy()
    return 100 * YEAR * np.append(np.nan, np.sqrt(variance))


def _risk_premium(bars: Bars, n_days: int) -> PriceArray:
    return _expected_volatility(bars) - realized_volatility(bars, n_days)


def _implied_to_realized(bars: Bars) -> PriceArray:
    quotient = ratio(_expected_volatility(bars), realized_volatility(bars, 21), empty=1.0)
    return quotient.clip(0, 3)


def _trend_cycle(bars: Bars) -> PriceArray:
    """Return the Schaff trend cycle; each stochastic is 50 where its range is empty."""
    fast, slow = talib.EMA(bars.close, 23), talib.EMA(bars.close, 50)
    first = talib.EMA(_stochastic(fast - slow), 3)
    second: PriceArray = talib.EMA(_stochastic(first), 3)
    return second


def _stochastic(values: PriceArray) -> PriceArray:
    top, bottom = talib.MAX(values, 10), talib.MIN(values, 10)
    return 100 * ratio(values - bottom, top - bottom, empty=0.5)


def _klinger_signal(bars: Bars) -> PriceArray:
    """Return EMA13 of the Klinger oscillator, in units of the mean volume of 55 days."""
    force = _volume_force(bars)
    oscillator = talib.EMA(force, 34) - talib.EMA(force, 55)
    return ratio(talib.EMA(oscillator, 13), trailing_mean(bars.volume, 55))


def _volume_force(bars: Bars) -> PriceArray:
    """Return Volume |2 dm / cm - 1|, signed by the trend of High + Low + Close.

    dm is the day's range, cm its sum since the trend last turned, with the day before that turn.
    """
    steps = np.sign(np.diff(bars.high + bars.low + bars.close))
    ranges = bars.high - bars.low
    force = np.full(len(ranges), np.nan)
    trend, summed = 0.0, 0.0
    for at in range(1, len(ranges)):
        # An unchanged price leaves the trend as it is.
        turned = steps[at - 1] not in (0.0, trend)
        summed = (ranges[at - 1] if turned else summed) + ranges[at]
        trend = steps[at - 1] if turned else trend
        share = abs(2 * ranges[at] / summed - 1) if summed > 0 else 0.0
        force[at] = bars.volume[at] * share * trend
    return force


ADDED: tuple[FeatureSpec, ...] = (
    _return(1),
    _return(5),
    _return(21),
    _return(63),
    _return(252),
    feature(
        "qqe_fast",
        "EMA5 of RSI14(Close)",
        19,
        lambda bars: talib.EMA(rsi(bars), 5),
        "centred_percent",
        recursive=True,
    ),
    feature(
        "qqe_slow",
        "EMA14 of RSI14(Close)",
        28,
        lambda bars: talib.EMA(rsi(bars), 14),
        "centred_percent",
        recursive=True,
    ),
    feature(
        "qqe_spread",
        "qqe_fast - qqe_slow",
        28,
        lambda bars: talib.EMA(rsi(bars), 5) - talib.EMA(rsi(bars), 14),
        recursive=True,
    ),
    feature(
        "stc_value",
        "Schaff trend cycle: EMA23 - EMA50, twice (stochastic 10, then EMA3); 50 if no range",
        72,
        _trend_cycle,
        "centred_percent",
        recursive=True,
    ),
    feature(
        "stc_from_50",
        "|stc_value - 50|",
        72,
        lambda bars: np.abs(_trend_cycle(bars) - 50),
        recursive=True,
    ),
    feature(
        "vrp_10d",
        "EWMA volatility forecast (lambda 0.94) - sd of log returns of 10 days, % per year",
        11,
        lambda bars: _risk_premium(bars, 10),
        recursive=True,
    ),
    feature(
        "vrp_21d",
        "EWMA volatility forecast (lambda 0.94) - sd of log returns of 21 days, % per year",
        22,
        lambda bars: _risk_premium(bars, 21),
        recursive=True,
    ),
    feature(
        "implied_vs_realized_ratio",
        "EWMA volatility forecast (lambda 0.94) / sd of 21 log returns, at most 3; 1 if no sd",
        22,
        _implied_to_realized,
        recursive=True,
    ),
    feature(
        "sharpe_20d",
        "mean / sd of 20 daily returns, times sqrt(252); 0 if no sd",
        21,
        lambda bars: _sharpe(bars, 20),
    ),
    feature(
        "sharpe_60d",
        "mean / sd of 60 daily returns, times sqrt(252); 0 if no sd",
        61,
        lambda bars: _sharpe(bars, 60),
    ),
    feature(
        "sortino_20d",
        "mean / root mean square of losses, 20 daily returns, times sqrt(252), within +-20",
        21,
        lambda bars: _sortino(bars, 20),
    ),
    feature(
        "sortino_60d",
        "mean / root mean square of losses, 60 daily returns, times sqrt(252), within +-20",
        61,
        lambda bars: _sortino(bars, 60),
    ),
    feature(
        "rsi_slope",
        "(RSI14 - RSI14 5 days before) / 5",
        20,
        lambda bars: change(rsi(bars), 5) / 5,
        recursive=True,
    ),
    feature(
        "rsi_extreme_dist",
        "min(RSI14 - 30, 70 - RSI14): below 0 beyond either",
        15,
        lambda bars: np.minimum(rsi(bars) - 30, 70 - rsi(bars)),
        recursive=True,
    ),
    feature(
        "price_pct_from_sma_50",
        "100 (Close / sma_50 - 1)",
        50,
        lambda bars: 100 * (bars.close / talib.SMA(bars.close, 50) - 1),
    ),
    feature(
        "price_pct_from_sma_200",
        "100 (Close / sma_200 - 1)",
        200,
        lambda bars: 100 * (bars.close / talib.SMA(bars.close, 200) - 1),
    ),
    feature(
        "sma_50_200_proximity",
        "100 (sma_50 / sma_200 - 1)",
        200,
        lambda bars: 100 * (talib.SMA(bars.close, 50) / talib.SMA(bars.close, 200) - 1),
    ),
    feature("atr_pct", "100 atr_14 / Close", 15, atr_percent, recursive=True),
    feature(
        "atr_pct_slope",
        "(atr_pct - atr_pct 5 days before) / 5",
        20,
        lambda bars: change(atr_percent(bars), 5) / 5,
        recursive=True,
    ),
    feature("bb_width", "100 (upper - lower) / middle, bands 20 days, 2 sd", 20, band_width),
    feature(
        "overnight_gap",
        "100 (Open / Close of the day before - 1)",
        2,
        lambda bars: 100 * (bars.open / earlier(bars.close, 1) - 1),
    ),
    feature(
        "open_to_close_pct",
        "100 (Close / Open - 1)",
        1,
        lambda bars: 100 * (bars.close / bars.open - 1),
    ),
    feature(
        "volume_ratio_20d",
        "Volume / mean Volume of the 20 days before, at most 5; 1 if those had none",
        21,
        lambda bars: ratio(bars.volume, earlier(trailing_mean(bars.volume, 20), 1), empty=1.0).clip(
            0, 5
        ),
    ),
    feature(
        "kvo_signal",
        "EMA13 of Klinger's EMA34 - EMA55 of volume force / mean Volume of 55 days; 0 if none",
        68,
        _klinger_signal,
        recursive=True,
    ),
    feature(
        "macd_histogram",
        "macd_line - EMA9(macd_line)",
        34,
        macd_histogram,
        "to_close",
        recursive=True,
    ),
)
