"""Tier a100, momentum: the features of trends, oscillators and ranges that it adds to a50."""

from collections.abc import Callable

import numpy as np
import talib

from study.data.arrays import PriceArray
from study.data.features.a50 import (
    atr_percent,
    band_width,
    macd_histogram,
    rsi,
)
from study.data.features.feature import Bars, FeatureSpec, feature
from study.data.features.rolling import (
    change,
    crossed,
    days_since,
    highest,
    lowest,
    percent_change,
    percentile_below,
    position_in_range,
    ratio,
    trailing_mean,
    trailing_sum,
)

_FIBONACCI = np.array([0.0, 0.236, 0.382, 0.5, 0.618, 0.786, 1.0])


def supertrend(bars: Bars) -> tuple[PriceArray, PriceArray]:
    """Return the SuperTrend line (ATR 10, factor 3) and its direction, +1 or -1."""
    line, direction = talib.SUPERTREND(bars.high, bars.low, bars.close, 10, 3.0)
    return line, direction.astype(np.float64)


def money_flow_index(bars: Bars) -> PriceArray:
    """Return the share of 14 days' money flow on days of rising typical price, 0 to 100."""
    typical = (bars.high + bars.low + bars.close) / 3
    flow, step = typical * bars.volume, change(typical, 1)
    # NaN on the first day, so that the first window begins on the second.
    rising = np.where(np.isnan(step), np.nan, np.where(step > 0, flow, 0.0))
    falling = np.where(np.isnan(step), np.nan, np.where(step < 0, flow, 0.0))
    up, down = trailing_sum(rising, 14), trailing_sum(falling, 14)
    return 100 * ratio(up, up + down, empty=0.5)


def _slope_of_mean(n_days: int, apart: int) -> FeatureSpec:
    return feature(
        f"sma_{n_days}_slope",
        f"100 (mean of Close of {n_days} days / itself {apart} days before - 1)",
        n_days + apart,
        lambda bars: percent_change(talib.SMA(bars.close, n_days), apart),
    )


def _return_acceleration(n_days: int) -> FeatureSpec:
    return feature(
        f"return_acceleration_{n_days}d",
        f"return_{n_days}d - return_{n_days}d {n_days} days before",
        2 * n_days + 1,
        lambda bars: change(percent_change(bars.close, n_days), n_days),
    )


def _slow_stochastic(bars: Bars) -> PriceArray:
    fast = 100 * position_in_range(bars.close, 14, bars.high, bars.low)
    return trailing_mean(fast, 3)


def _percentile(
    name: str, what: str, look_back: int, series: Callable[[Bars], PriceArray], recursive: bool
) -> FeatureSpec:
    return feature(
        f"{name}_percentile_60d",
        f"percentage of the 59 values of {what} before that are strictly below it",
        look_back + 59,
        lambda bars: percentile_below(series(bars), 60),
        "centred_percent",
        recursive=recursive,
    )


def _directional_spread(bars: Bars) -> PriceArray:
    up = talib.PLUS_DI(bars.high, bars.low, bars.close, 14)
    down = talib.MINUS_DI(bars.high, bars.low, bars.close, 14)
    spread: PriceArray = up - down
    return spread


def _fibonacci_position(bars: Bars) -> PriceArray:
    return position_in_range(bars.close, 60, bars.high, bars.low)


def _fibonacci_distance(bars: Bars) -> PriceArray:
    position = _fibonacci_position(bars)
    distance: PriceArray = np.abs(position[:, None] - _FIBONACCI).min(axis=1)
    return distance


def _efficiency(bars: Bars) -> PriceArray:
    path = trailing_sum(np.abs(change(bars.close, 1)), 20)
    return ratio(np.abs(change(bars.close, 20)), path)


ADDED: tuple[FeatureSpec, ...] = (
    _return_acceleration(5),
    _return_acceleration(21),
    feature(
        "rsi_acceleration",
        "rsi_slope - rsi_slope 5 days before",
        25,
        lambda bars: change(change(rsi(bars), 5) / 5, 5),
        recursive=True,
    ),
    feature(
        "macd_histogram_slope",
        "(macd_histogram - macd_histogram 5 days before) / 5",
        39,
        lambda bars: change(macd_histogram(bars), 5) / 5,
        "to_close",
        recursive=True,
    ),
    _slope_of_mean(20, 5),
    _slope_of_mean(50, 10),
    _slope_of_mean(200, 20),
    feature(
        "adx_slope",
        "(adx_14 - adx_14 5 days before) / 5",
        33,
        lambda bars: change(talib.ADX(bars.high, bars.low, bars.close, 14), 5) / 5,
        recursive=True,
    ),
    feature(
        "obv_slope_10d",
        "sum of Volume signed by the change of Close / sum of Volume, 10 days; 0 if none",
        11,
        lambda bars: ratio(
            trailing_sum(np.sign(change(bars.close, 1)) * bars.volume, 10),
            trailing_sum(bars.volume, 10),
        ),
    ),
    feature(
        "volume_trend",
        "mean Volume of 5 days / mean Volume of 20 days - 1; 0 if none",
        20,
        lambda bars: (
            ratio(trailing_mean(bars.volume, 5), trailing_mean(bars.volume, 20), empty=1.0) - 1
        ),
    ),
    feature(
        "stoch_k_14",
        "mean of 3 days of 100 (Close - lowest Low) / range, 14 days; 50 if no range",
        16,
        _slow_stochastic,
        "centred_percent",
    ),
    feature(
        "stoch_d_14",
        "mean of stoch_k_14, 3 days",
        18,
        lambda bars: trailing_mean(_slow_stochastic(bars), 3),
        "centred_percent",
    ),
    feature(
        "stoch_spread_14",
        "stoch_k_14 - stoch_d_14",
        18,
        lambda bars: _slow_stochastic(bars) - trailing_mean(_slow_stochastic(bars), 3),
    ),
    feature(
        "cci_14",
        "commodity channel index of the typical price, 14 days, within +-500",
        14,
        lambda bars: talib.CCI(bars.high, bars.low, bars.close, 14).clip(-500, 500),
    ),
    feature(
        "mfi_14",
        "100 money flow of days with rising typical price / all, 14 days; 50 if none",
        15,
        money_flow_index,
        "centred_percent",
    ),
    feature(
        "williams_r_14",
        "-100 (highest High - Close) / range, 14 days; -50 if no range",
        14,
        lambda bars: 100 * position_in_range(bars.close, 14, bars.high, bars.low) - 100,
    ),
    feature(
        "sma_50_200_cross_recency",
        "days since sma_50 crossed sma_200, at most 50",
        250,
        lambda bars: days_since(
            crossed(talib.SMA(bars.close, 50) - talib.SMA(bars.close, 200)), 50
        ),
    ),
    feature(
        "macd_signal_cross_recency",
        "days since macd_histogram changed its sign, at most 60",
        94,
        lambda bars: days_since(crossed(macd_histogram(bars)), 60),
        recursive=True,
    ),
    feature(
        "rsi_50_cross_recency",
        "days since RSI14 crossed 50, at most 60",
        75,
        lambda bars: days_since(crossed(rsi(bars) - 50), 60),
        recursive=True,
    ),
    _percentile("close", "Close", 1, lambda bars: bars.close, recursive=False),
    _percentile("volume", "Volume", 1, lambda bars: bars.volume, recursive=False),
    _percentile("rsi", "RSI14", 15, rsi, recursive=True),
    _percentile("atr_pct", "atr_pct", 15, atr_percent, recursive=True),
    _percentile("bb_width", "bb_width", 20, band_width, recursive=False),
    feature("di_spread_14", "+DI14 - -DI14", 15, _directional_spread, recursive=True),
    feature(
        "aroon_up_25",
        "100 (25 - days since the highest High) / 25, 26 days",
        26,
        lambda bars: talib.AROON(bars.high, bars.low, 25)[1],
        "centred_percent",
    ),
    feature(
        "aroon_down_25",
        "100 (25 - days since the lowest Low) / 25, 26 days",
        26,
        lambda bars: talib.AROON(bars.high, bars.low, 25)[0],
        "centred_percent",
    ),
    feature(
        "supertrend",
        "SuperTrend line, ATR 10, factor 3",
        11,
        lambda bars: supertrend(bars)[0],
        "log_to_close",
        recursive=True,
    ),
    feature(
        "supertrend_direction",
        "1 if Close is above supertrend, -1 if below",
        11,
        lambda bars: supertrend(bars)[1],
        recursive=True,
    ),
    feature(
        "fibonacci_position_60d",
        "(Close - lowest Low) / range, 60 days; 0.5 if no range",
        60,
        _fibonacci_position,
        "centred_share",
    ),
    feature(
        "fibonacci_distance_60d",
        "distance of fibonacci_position_60d to the nearest of 0, .236, .382, .5, .618, .786, 1",
        60,
        _fibonacci_distance,
    ),
    feature(
        "high_20d_distance",
        "100 (Close / highest High of 20 days - 1)",
        20,
        lambda bars: 100 * (bars.close / highest(bars.high, 20) - 1),
    ),
    feature(
        "low_20d_distance",
        "100 (Close / lowest Low of 20 days - 1)",
        20,
        lambda bars: 100 * (bars.close / lowest(bars.low, 20) - 1),
    ),
    feature(
        "efficiency_ratio_20d",
        "|change of Close over 20 days| / sum of |daily changes|; 0 if no change",
        21,
        _efficiency,
    ),
)
