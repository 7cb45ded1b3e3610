"""Tier a200, durations: for how many days something has been so, or when it last was."""

from collections.abc import Callable

import numpy as np
import talib

from study.data.arrays import PriceArray
from study.data.features.a50 import band_width, macd_histogram, macd_line, rsi
from study.data.features.a100_momentum import supertrend
from study.data.features.feature import Bars, FeatureSpec, feature
from study.data.features.rolling import (
    BoolArray,
    change,
    days_since,
    earlier,
    over_windows,
    run_length,
    trailing_mean,
)

_CAP_DAYS = 60
"""Most days of a duration that are counted, unless a look-back of 253 days allows for less."""


def _duration(
    name: str,
    what: str,
    look_back: int,
    state: Callable[[Bars], PriceArray],
    *,
    cap: int = _CAP_DAYS,
    recursive: bool = False,
) -> FeatureSpec:
    return feature(
        f"{name}_duration",
        f"days in a row that {what}, negative for the contrary, within +-{cap}",
        look_back + cap - 1,
        lambda bars: run_length(state(bars), cap),
        recursive=recursive,
    )


def _recency(
    name: str,
    what: str,
    look_back: int,
    event: Callable[[Bars], BoolArray],
    *,
    recursive: bool = False,
) -> FeatureSpec:
    return feature(
        f"{name}_recency",
        f"days since {what}, at most {_CAP_DAYS}",
        look_back + _CAP_DAYS - 1,
        lambda bars: days_since(event(bars), _CAP_DAYS),
        recursive=recursive,
    )


def _share(
    name: str,
    what: str,
    look_back: int,
    event: Callable[[Bars], BoolArray],
    *,
    recursive: bool = False,
) -> FeatureSpec:
    return feature(
        f"{name}_share_60d",
        f"percentage of days with {what}, 60 days",
        look_back + 59,
        lambda bars: 100 * trailing_mean(event(bars).astype(np.float64), 60),
        recursive=recursive,
    )


def _above_mean(bars: Bars, n_days: int) -> PriceArray:
    above: PriceArray = bars.close - talib.SMA(bars.close, n_days)
    return above


def _golden(bars: Bars) -> PriceArray:
    difference: PriceArray = talib.SMA(bars.close, 50) - talib.SMA(bars.close, 200)
    return difference


def _trend_strength(bars: Bars) -> PriceArray:
    strength: PriceArray = talib.ADX(bars.high, bars.low, bars.close, 14) - 25
    return strength


def _aroon(bars: Bars) -> PriceArray:
    down, up = talib.AROON(bars.high, bars.low, 25)
    difference: PriceArray = up - down
    return difference


def _above_mean_volume(bars: Bars) -> PriceArray:
    return bars.volume - earlier(trailing_mean(bars.volume, 20), 1)


def _squeeze(bars: Bars) -> PriceArray:
    width = band_width(bars)
    return over_windows(width, 60, lambda windows: np.median(windows, axis=1)) - width


def _above_band(bars: Bars) -> BoolArray:
    above: BoolArray = bars.close > talib.BBANDS(bars.close, 20, 2.0, 2.0)[0]
    return above


def _below_band(bars: Bars) -> BoolArray:
    below: BoolArray = bars.close < talib.BBANDS(bars.close, 20, 2.0, 2.0)[2]
    return below


def _overbought(bars: Bars) -> BoolArray:
    return rsi(bars) > 70


def _oversold(bars: Bars) -> BoolArray:
    return rsi(bars) < 30


ADDED: tuple[FeatureSpec, ...] = (
    _duration("close_above_sma_20", "Close > SMA20", 20, lambda bars: _above_mean(bars, 20)),
    _duration("close_above_sma_50", "Close > sma_50", 50, lambda bars: _above_mean(bars, 50)),
    _duration(
        "close_above_sma_200", "Close > sma_200", 200, lambda bars: _above_mean(bars, 200), cap=50
    ),
    _duration("sma_50_above_200", "sma_50 > sma_200", 200, _golden, cap=50),
    _duration("macd_above_zero", "macd_line > 0", 34, macd_line, recursive=True),
    _duration("macd_above_signal", "macd_histogram > 0", 34, macd_histogram, recursive=True),
    _duration(
        "supertrend", "supertrend points up", 11, lambda bars: supertrend(bars)[1], recursive=True
    ),
    _duration("close_streak", "Close rises", 2, lambda bars: change(bars.close, 1), cap=20),
    _duration("adx_above_25", "adx_14 > 25", 28, _trend_strength, recursive=True),
    _duration("aroon", "aroon_up_25 > aroon_down_25", 26, _aroon),
    _duration(
        "volume_above_mean",
        "Volume > its mean of the 20 days before",
        21,
        _above_mean_volume,
        cap=20,
    ),
    _duration("rsi_above_50", "RSI14 > 50", 15, lambda bars: rsi(bars) - 50, recursive=True),
    _duration("bb_squeeze", "bb_width < its median of 60 days", 79, _squeeze),
    _recency("bb_upper", "Close > upper band (20 days, 2 sd)", 20, _above_band),
    _recency("bb_lower", "Close < lower band (20 days, 2 sd)", 20, _below_band),
    _recency("rsi_overbought", "RSI14 > 70", 15, _overbought, recursive=True),
    _recency("rsi_oversold", "RSI14 < 30", 15, _oversold, recursive=True),
    _share("bb_upper", "Close > upper band (20 days, 2 sd)", 20, _above_band),
    _share("bb_lower", "Close < lower band (20 days, 2 sd)", 20, _below_band),
    _share("rsi_overbought", "RSI14 > 70", 15, _overbought, recursive=True),
    _share("rsi_oversold", "RSI14 < 30", 15, _oversold, recursive=True),
)
