"""Tier a200, averages: moving averages of many kinds and how long ago they crossed."""

from collections.abc import Callable

import talib

from study.data.arrays import PriceArray
from study.data.features.a25 import volume_weighted_price
from study.data.features.feature import FeatureSpec, feature
from study.data.features.rolling import crossed, days_since, percent_change

Average = Callable[[PriceArray], PriceArray]
_CAP_DAYS = 60
"""Most days since a crossing that are counted."""


def _average(
    name: str, formula: str, look_back: int, average: Average, recursive: bool = False
) -> FeatureSpec:
    return feature(
        name,
        formula,
        look_back,
        lambda bars: average(bars.close),
        "log_to_close",
        recursive=recursive,
    )


def _tema(n_days: int) -> FeatureSpec:
    name = f"EMA{n_days}"
    return _average(
        f"tema_{n_days}",
        f"3 {name}(Close) - 3 {name}({name}(Close)) + {name}({name}({name}(Close)))",
        3 * n_days - 2,
        lambda close: talib.TEMA(close, n_days),
        recursive=True,
    )


def _wma(n_days: int) -> FeatureSpec:
    return _average(
        f"wma_{n_days}",
        f"mean of Close with weights 1 to {n_days}",
        n_days,
        lambda close: talib.WMA(close, n_days),
    )


def _kama(n_days: int) -> FeatureSpec:
    return _average(
        f"kama_{n_days}",
        f"Kaufman's adaptive average of Close, efficiency over {n_days} days",
        n_days + 1,
        lambda close: talib.KAMA(close, n_days),
        recursive=True,
    )


def _hma(n_days: int) -> FeatureSpec:
    root = int(n_days**0.5)
    return _average(
        f"hma_{n_days}",
        f"Hull average: WMA{root} of 2 WMA{n_days // 2}(Close) - WMA{n_days}(Close)",
        n_days + root - 1,
        lambda close: talib.HMA(close, n_days),
    )


def _vwma(n_days: int) -> FeatureSpec:
    return feature(
        f"vwma_{n_days}",
        f"sum(Close Volume) / sum(Volume), {n_days} days; mean of Close if no volume",
        n_days,
        lambda bars: volume_weighted_price(bars.close, bars.volume, n_days),
        "log_to_close",
    )


def _slope(name: str, look_back: int, average: Average, recursive: bool = False) -> FeatureSpec:
    return feature(
        f"{name}_slope",
        f"100 ({name} / {name} 5 days before - 1)",
        look_back + 5,
        lambda bars: percent_change(average(bars.close), 5),
        recursive=recursive,
    )


def _cross(
    fast: str, slow: str, look_back: int, one: Average, other: Average, recursive: bool = False
) -> FeatureSpec:
    return feature(
        f"{fast}_{slow}_cross_recency",
        f"days since {fast} crossed {slow}, at most {_CAP_DAYS}",
        look_back + _CAP_DAYS,
        lambda bars: days_since(crossed(one(bars.close) - other(bars.close)), _CAP_DAYS),
        recursive=recursive,
    )


def _sma(n_days: int) -> Average:
    return lambda close: talib.SMA(close, n_days)


def _ema(n_days: int) -> Average:
    return lambda close: talib.EMA(close, n_days)


def _price(close: PriceArray) -> PriceArray:
    return close


ADDED: tuple[FeatureSpec, ...] = (
    _tema(10),
    _tema(20),
    _tema(50),
    _wma(10),
    _wma(20),
    _wma(50),
    _kama(10),
    _kama(20),
    _kama(50),
    _hma(9),
    _hma(16),
    _hma(49),
    _vwma(10),
    _vwma(50),
    _vwma(100),
    _slope("tema_20", 58, lambda close: talib.TEMA(close, 20), recursive=True),
    _slope("kama_20", 21, lambda close: talib.KAMA(close, 20), recursive=True),
    _slope("hma_16", 19, lambda close: talib.HMA(close, 16)),
    _cross("sma_5", "sma_10", 10, _sma(5), _sma(10)),
    _cross("sma_10", "sma_20", 20, _sma(10), _sma(20)),
    _cross("sma_10", "sma_50", 50, _sma(10), _sma(50)),
    _cross("sma_20", "sma_100", 100, _sma(20), _sma(100)),
    _cross("sma_50", "sma_100", 100, _sma(50), _sma(100)),
    _cross("ema_9", "ema_21", 21, _ema(9), _ema(21), recursive=True),
    _cross("close", "ema_20", 20, _price, _ema(20), recursive=True),
    _cross("close", "sma_100", 100, _price, _sma(100)),
)
