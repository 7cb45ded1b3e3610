"""Tier a25: the five columns of a bar and twenty indicators, with the semantics of TA-Lib."""

from collections.abc import Callable

import numpy as np
import talib

from study.data.arrays import DayArray, PriceArray
from study.data.features.feature import FeatureSpec, feature
from study.data.features.rolling import ratio, trailing_sum


def _dema(n_days: int) -> FeatureSpec:
    name = f"EMA{n_days}"
    return feature(
        f"dema_{n_days}",
        f"2 {name}(Close) - {name}({name}(Close))",
        2 * n_days - 1,
        lambda bars: talib.DEMA(bars.close, n_days),
        "log_to_close",
        recursive=True,
    )


def _sma(n_days: int) -> FeatureSpec:
    return feature(
        f"sma_{n_days}",
        f"mean of Close, {n_days} days",
        n_days,
        lambda bars: talib.SMA(bars.close, n_days),
        "log_to_close",
    )


def _stochastic_rsi(close: PriceArray) -> PriceArray:
    percent_k: PriceArray = talib.STOCHRSI(close, 14, 5, 3)[0]
    return percent_k


def _of_week_before(
    days: DayArray, close: PriceArray, indicator: Callable[[PriceArray], PriceArray]
) -> PriceArray:
    """Return an indicator of weekly closes, at each day as of the last week before its own.

    Weeks begin on Monday. A week is known by its number and not by its Monday's date, so one that
    begins with a holiday loses nothing; the current week is never seen, not even on its Friday.
    """
    # 1970-01-01 was a Thursday: three days on, weeks begin on Monday.
    week_numbers = (days.astype(np.int64) + 3) // 7
    _, week_of_day = np.unique(week_numbers, return_inverse=True)
    last_of_week = np.append(np.flatnonzero(np.diff(week_of_day)), len(days) - 1)
    weekly = indicator(np.ascontiguousarray(close[last_of_week]))
    return np.append(np.nan, weekly)[week_of_day]


def percent_b(close: PriceArray) -> PriceArray:
    """Return where Close lies between its bands, 0 to 1; a flat price is in the middle of them."""
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    return ratio(close - lower, upper - lower, empty=0.5)


def volume_weighted_price(close: PriceArray, volume: PriceArray, n_days: int) -> PriceArray:
    """Return the mean of Close weighted by Volume; without any volume every price weighs the same.

    Args:
        close: shape (n_bars,).
        volume: shape (n_bars,).
        n_days: length of the window.
    """
    traded = trailing_sum(volume, n_days)
    value = trailing_sum(close * volume, n_days)
    silent = traded == 0
    plain = trailing_sum(close, n_days) / n_days
    price: PriceArray = np.where(silent, plain, value / np.where(silent, 1.0, traded))
    return price


A25: tuple[FeatureSpec, ...] = (
    feature("Open", "first price of the day", 1, lambda bars: bars.open, "log_to_close"),
    feature("High", "highest price of the day", 1, lambda bars: bars.high, "log_to_close"),
    feature("Low", "lowest price of the day", 1, lambda bars: bars.low, "log_to_close"),
    feature("Close", "last price of the day", 1, lambda bars: bars.close, "log_return"),
    feature("Volume", "volume of the day", 1, lambda bars: bars.volume, "to_mean_volume"),
    _dema(9),
    _dema(10),
    _sma(12),
    _dema(20),
    _dema(25),
    _sma(50),
    _dema(90),
    _sma(100),
    _sma(200),
    feature(
        "rsi_daily",
        "Wilder RSI14(Close), 0 to 100",
        15,
        lambda bars: talib.RSI(bars.close, 14),
        "centred_percent",
        recursive=True,
    ),
    feature(
        "rsi_weekly",
        "RSI14 of weekly closes, as of the week before",
        16,
        lambda bars: _of_week_before(bars.days, bars.close, lambda weekly: talib.RSI(weekly, 14)),
        "centred_percent",
        recursive=True,
        weekly=True,
    ),
    feature(
        "stochrsi_daily",
        "stochastic %K (5 days) of RSI14(Close), 0 to 100",
        21,
        lambda bars: _stochastic_rsi(bars.close),
        "centred_percent",
        recursive=True,
    ),
    feature(
        "stochrsi_weekly",
        "stochastic %K (5 weeks) of RSI14 of weekly closes, as of the week before",
        22,
        lambda bars: _of_week_before(bars.days, bars.close, _stochastic_rsi),
        "centred_percent",
        recursive=True,
        weekly=True,
    ),
    feature(
        "macd_line",
        "EMA12(Close) - EMA26(Close)",
        34,
        lambda bars: talib.MACD(bars.close, 12, 26, 9)[0],
        "to_close",
        recursive=True,
    ),
    feature(
        "obv",
        "running sum of Volume signed by the change of Close",
        1,
        lambda bars: talib.OBV(bars.close, bars.volume),
        "change_to_volume",
        recursive=True,
    ),
    feature(
        "adosc",
        "Chaikin oscillator: EMA3 - EMA10 of accumulation/distribution",
        10,
        lambda bars: talib.ADOSC(bars.high, bars.low, bars.close, bars.volume, 3, 10),
        "to_volume",
        recursive=True,
    ),
    feature(
        "atr_14",
        "Wilder mean of the true range, 14 days",
        15,
        lambda bars: talib.ATR(bars.high, bars.low, bars.close, 14),
        "log_to_close",
        recursive=True,
    ),
    feature(
        "adx_14",
        "Wilder average directional index, 14 days, 0 to 100",
        28,
        lambda bars: talib.ADX(bars.high, bars.low, bars.close, 14),
        "centred_percent",
        recursive=True,
    ),
    feature(
        "bb_percent_b",
        "(Close - lower) / (upper - lower), bands 20 days, 2 sd",
        20,
        lambda bars: percent_b(bars.close),
        "centred_share",
    ),
    feature(
        "vwap_20",
        "sum(Close Volume) / sum(Volume), 20 days",
        20,
        lambda bars: volume_weighted_price(bars.close, bars.volume, 20),
        "log_to_close",
    ),
)
