"""Tier a200, ranges: where Close stands in channels of highest and lowest prices."""

from collections.abc import Callable

import numpy as np
import talib

from study.data.arrays import PriceArray
from study.data.features.feature import Bars, FeatureSpec, feature
from study.data.features.rolling import (
    days_since_highest,
    earlier,
    highest,
    lowest,
    position_in_range,
)

_SHIFT_DAYS = 26
"""Ichimoku plots its cloud so many days ahead: over today's bar stands what was known then."""


def _line(
    name: str, formula: str, look_back: int, compute: Callable[[Bars], PriceArray]
) -> FeatureSpec:
    return feature(name, formula, look_back, compute, "log_to_close")


def _width(bars: Bars, n_days: int) -> PriceArray:
    return 100 * (highest(bars.high, n_days) - lowest(bars.low, n_days)) / bars.close


def _middle(bars: Bars, n_days: int) -> PriceArray:
    middle: PriceArray = talib.MIDPRICE(bars.high, bars.low, n_days)
    return middle


def _span_a(bars: Bars) -> PriceArray:
    return earlier((_middle(bars, 9) + _middle(bars, 26)) / 2, _SHIFT_DAYS)


def _span_b(bars: Bars) -> PriceArray:
    return earlier(_middle(bars, 52), _SHIFT_DAYS)


def _cloud_position(bars: Bars) -> PriceArray:
    """Return 1 above both spans, -1 below both, 0 in between."""
    one, other = _span_a(bars), _span_b(bars)
    return (np.sign(bars.close - one) + np.sign(bars.close - other)) / 2


def _breakout(bars: Bars) -> PriceArray:
    above = bars.close > earlier(highest(bars.high, 20), 1)
    below = bars.close < earlier(lowest(bars.low, 20), 1)
    return above.astype(np.float64) - below


def _fibonacci_line(bars: Bars, share: float) -> PriceArray:
    top, bottom = highest(bars.high, 60), lowest(bars.low, 60)
    return top - share * (top - bottom)


ADDED: tuple[FeatureSpec, ...] = (
    feature(
        "high_252d_distance",
        "100 (Close / highest High of 252 days - 1)",
        252,
        lambda bars: 100 * (bars.close / highest(bars.high, 252) - 1),
    ),
    feature(
        "low_252d_distance",
        "100 (Close / lowest Low of 252 days - 1)",
        252,
        lambda bars: 100 * (bars.close / lowest(bars.low, 252) - 1),
    ),
    feature(
        "range_252d_position",
        "(Close - lowest Low) / range, 252 days; 0.5 if no range",
        252,
        lambda bars: position_in_range(bars.close, 252, bars.high, bars.low),
        "centred_share",
    ),
    feature(
        "high_252d_recency",
        "days since the highest High of 252 days",
        252,
        lambda bars: days_since_highest(bars.high, 252),
    ),
    feature(
        "low_252d_recency",
        "days since the lowest Low of 252 days",
        252,
        lambda bars: days_since_highest(-bars.low, 252),
    ),
    feature(
        "range_252d_width",
        "100 (highest High - lowest Low) / Close, 252 days",
        252,
        lambda bars: _width(bars, 252),
    ),
    _line(
        "ichimoku_tenkan",
        "(highest High + lowest Low) / 2, 9 days",
        9,
        lambda bars: _middle(bars, 9),
    ),
    _line(
        "ichimoku_kijun",
        "(highest High + lowest Low) / 2, 26 days",
        26,
        lambda bars: _middle(bars, 26),
    ),
    _line(
        "ichimoku_span_a",
        "(ichimoku_tenkan + ichimoku_kijun) / 2, of 26 days before",
        52,
        _span_a,
    ),
    _line(
        "ichimoku_span_b",
        "(highest High + lowest Low) / 2, 52 days, of 26 days before",
        78,
        _span_b,
    ),
    feature(
        "ichimoku_cloud_position",
        "1 if Close is above both spans, -1 if below both, else 0 (+-0.5 on one of them)",
        78,
        _cloud_position,
    ),
    feature(
        "ichimoku_cloud_width",
        "100 (ichimoku_span_a - ichimoku_span_b) / Close",
        78,
        lambda bars: 100 * (_span_a(bars) - _span_b(bars)) / bars.close,
    ),
    feature(
        "ichimoku_spread",
        "100 (ichimoku_tenkan - ichimoku_kijun) / Close",
        26,
        lambda bars: 100 * (_middle(bars, 9) - _middle(bars, 26)) / bars.close,
    ),
    _line("donchian_upper_55", "highest High of 55 days", 55, lambda bars: highest(bars.high, 55)),
    _line("donchian_lower_55", "lowest Low of 55 days", 55, lambda bars: lowest(bars.low, 55)),
    feature(
        "donchian_width_20",
        "100 (highest High - lowest Low) / Close, 20 days",
        20,
        lambda bars: _width(bars, 20),
    ),
    feature(
        "donchian_width_55",
        "100 (highest High - lowest Low) / Close, 55 days",
        55,
        lambda bars: _width(bars, 55),
    ),
    feature(
        "donchian_position_20",
        "(Close - lowest Low) / range, 20 days; 0.5 if no range",
        20,
        lambda bars: position_in_range(bars.close, 20, bars.high, bars.low),
        "centred_share",
    ),
    feature(
        "donchian_breakout_20",
        "1 if Close > highest High of the 20 days before, -1 if < lowest Low, else 0",
        21,
        _breakout,
    ),
    _line(
        "fibonacci_382_60d",
        "highest High - 0.382 range, 60 days",
        60,
        lambda bars: _fibonacci_line(bars, 0.382),
    ),
    _line(
        "fibonacci_618_60d",
        "highest High - 0.618 range, 60 days",
        60,
        lambda bars: _fibonacci_line(bars, 0.618),
    ),
)
