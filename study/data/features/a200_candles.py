"""Tier a200, candles: the shape of a day's bar."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import talib

from study.data.arrays import PriceArray
from study.data.features.feature import Bars, FeatureSpec, feature
from study.data.features.rolling import earlier, ratio


def _body(bars: Bars) -> PriceArray:
    return ratio(bars.close - bars.open, bars.high - bars.low)


def _upper_shadow(bars: Bars) -> PriceArray:
    return ratio(bars.high - np.maximum(bars.open, bars.close), bars.high - bars.low)


def _lower_shadow(bars: Bars) -> PriceArray:
    return ratio(np.minimum(bars.open, bars.close) - bars.low, bars.high - bars.low)


def _close_location(bars: Bars) -> PriceArray:
    return ratio(2 * bars.close - bars.high - bars.low, bars.high - bars.low)


def _range_to_mean(bars: Bars) -> PriceArray:
    mean = earlier(talib.ATR(bars.high, bars.low, bars.close, 14), 1)
    reach = talib.TRANGE(bars.high, bars.low, bars.close)
    return ratio(reach, mean, empty=1.0).clip(0, 5)


def _inside(bars: Bars) -> PriceArray:
    inside = (bars.high < earlier(bars.high, 1)) & (bars.low > earlier(bars.low, 1))
    return inside.astype(np.float64)


def _outside(bars: Bars) -> PriceArray:
    outside = (bars.high > earlier(bars.high, 1)) & (bars.low < earlier(bars.low, 1))
    return outside.astype(np.float64)


def _pattern(
    name: str, formula: str, look_back: int, function: Callable[..., npt.NDArray[np.int32]]
) -> FeatureSpec:
    return feature(
        f"candle_{name}",
        f"{formula}: {function.__name__} / 100",
        look_back,
        lambda bars: function(bars.open, bars.high, bars.low, bars.close) / 100,
    )


ADDED: tuple[FeatureSpec, ...] = (
    feature("candle_body", "(Close - Open) / (High - Low); 0 if no range", 1, _body),
    feature(
        "candle_upper_shadow",
        "(High - max(Open, Close)) / (High - Low); 0 if no range",
        1,
        _upper_shadow,
    ),
    feature(
        "candle_lower_shadow",
        "(min(Open, Close) - Low) / (High - Low); 0 if no range",
        1,
        _lower_shadow,
    ),
    feature(
        "candle_close_location",
        "(2 Close - High - Low) / (High - Low); 0 if no range",
        1,
        _close_location,
    ),
    feature(
        "candle_range_to_atr",
        "true range / atr_14 of the day before, at most 5; 1 if that is 0",
        16,
        _range_to_mean,
        recursive=True,
    ),
    feature("candle_inside_day", "1 if the High is lower and the Low higher, else 0", 2, _inside),
    feature("candle_outside_day", "1 if the High is higher and the Low lower, else 0", 2, _outside),
    _pattern("doji", "Open and Close nearly equal", 11, talib.CDLDOJI),
    _pattern("hammer", "small body, long lower shadow", 12, talib.CDLHAMMER),
    _pattern("engulfing", "body covers the one before; 1 up, -1 down", 3, talib.CDLENGULFING),
    _pattern("harami", "body inside the one before; 1 up, -1 down", 12, talib.CDLHARAMI),
    _pattern("spinning_top", "small body, long shadows", 11, talib.CDLSPINNINGTOP),
    _pattern("long_line", "long body, short shadows; 1 up, -1 down", 11, talib.CDLLONGLINE),
)
