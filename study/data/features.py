"""Named features of each day, computed from that day's bar and earlier ones only."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import talib

from study.data.arrays import DayArray, PriceArray
from study.data.sources import Prices
from study.data.tables import BAR_COLUMNS
from study.errors import DataError, require


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSpec:
    """What one column means and how far it looks back."""

    name: str
    formula: str
    look_back: int
    """Bars needed for the first value, the current one included; weeks if ``weekly``. Recursive
    averages go on remembering older bars, with a weight that fades."""
    weekly: bool = False
    source: str = "ohlcv"
    """Which series the feature is made of."""


def _spec(name: str, formula: str, look_back: int, *, weekly: bool = False) -> FeatureSpec:
    return FeatureSpec(name=name, formula=formula, look_back=look_back, weekly=weekly)


A25: tuple[FeatureSpec, ...] = (
    _spec("Open", "first price of the day", 1),
    _spec("High", "highest price of the day", 1),
    _spec("Low", "lowest price of the day", 1),
    _spec("Close", "last price of the day", 1),
    _spec("Volume", "volume of the day", 1),
    _spec("dema_9", "2 EMA9(Close) - EMA9(EMA9(Close))", 17),
    _spec("dema_10", "2 EMA10(Close) - EMA10(EMA10(Close))", 19),
    _spec("sma_12", "mean of Close, 12 days", 12),
    _spec("dema_20", "2 EMA20(Close) - EMA20(EMA20(Close))", 39),
    _spec("dema_25", "2 EMA25(Close) - EMA25(EMA25(Close))", 49),
    _spec("sma_50", "mean of Close, 50 days", 50),
    _spec("dema_90", "2 EMA90(Close) - EMA90(EMA90(Close))", 179),
    _spec("sma_100", "mean of Close, 100 days", 100),
    _spec("sma_200", "mean of Close, 200 days", 200),
    _spec("rsi_daily", "Wilder RSI14(Close), 0 to 100", 15),
    _spec("rsi_weekly", "RSI14 of weekly closes, as of the week before", 16, weekly=True),
    _spec("stochrsi_daily", "stochastic %K (5 days) of RSI14(Close), 0 to 100", 21),
    _spec(
        "stochrsi_weekly",
        "stochastic %K (5 weeks) of RSI14 of weekly closes, as of the week before",
        22,
        weekly=True,
    ),
    _spec("macd_line", "EMA12(Close) - EMA26(Close)", 34),
    _spec("obv", "running sum of Volume signed by the change of Close", 1),
    _spec("adosc", "Chaikin oscillator: EMA3 - EMA10 of accumulation/distribution", 10),
    _spec("atr_14", "Wilder mean of the true range, 14 days", 15),
    _spec("adx_14", "Wilder average directional index, 14 days, 0 to 100", 28),
    _spec("bb_percent_b", "(Close - lower) / (upper - lower), bands 20 days, 2 sd", 20),
    _spec("vwap_20", "sum(Close Volume) / sum(Volume), 20 days", 20),
)

TIERS: dict[str, tuple[FeatureSpec, ...]] = {"a25": A25}

WARM_UP_DAYS = 199
"""Bars at the front without all features. Every week has a bar, and at most seven, so the weekly
indicators (22 weeks) always have values before the 200-day mean does."""

_BOLLINGER_DAYS = 20
_VWAP_DAYS = 20


def feature_hash(tier: str) -> str:
    """Return the sha256 of the tier's names, order and definitions."""
    text = "\n".join(f"{spec.name}\t{spec.formula}\t{spec.source}" for spec in TIERS[tier])
    return hashlib.sha256(text.encode()).hexdigest()


def build_features(prices: Prices) -> pd.DataFrame:
    """Return the 25 features of tier a25 for every day that has all of them.

    Returns: float64 of shape (n_bars - 199, 25) in the order of A25, indexed by ``Date``.

    Raises:
        DataError: there are too few bars, or a later value is undefined.
    """
    n_bars = len(prices.frame)
    require(
        n_bars > WARM_UP_DAYS,
        prices.name,
        f"tier a25 needs more than {WARM_UP_DAYS} bars for its 200-day mean",
        got=f"rows={n_bars}",
        remedy="Give a longer history.",
        error=DataError,
    )
    columns = compute_columns(prices.frame)
    frame = pd.DataFrame(columns, index=prices.frame.index).iloc[WARM_UP_DAYS:]
    require_finite(frame, prices.name, "Check the bars before that day.")
    return frame


def require_finite(frame: pd.DataFrame, where: str, remedy: str) -> None:
    """Refuse NaN and infinity in a frame of features or inputs, naming the first day and column.

    Raises:
        DataError: a value is not finite.
    """
    values = frame.to_numpy()
    undefined = np.argwhere(~np.isfinite(values))
    if len(undefined):
        row, column = undefined[0]
        day = frame.index.to_numpy()[row].astype("datetime64[D]")
        name = frame.columns[column]
        raise DataError(
            f"{where} {day} column {name}: must be finite after the warm-up, "
            f"but got {name}={values[row, column]}. {remedy}"
        )


def compute_columns(bars: pd.DataFrame) -> dict[str, PriceArray]:
    """Return each a25 feature for every bar, NaN in its own warm-up, in the order of A25."""
    # TA-Lib takes contiguous float64 only.
    open_, high, low, close, volume = (
        np.ascontiguousarray(bars[name].to_numpy(), dtype=np.float64) for name in BAR_COLUMNS
    )
    days = bars.index.to_numpy().astype("datetime64[D]")
    columns = {"Open": open_, "High": high, "Low": low, "Close": close, "Volume": volume}
    computed = {
        **{f"dema_{n}": talib.DEMA(close, n) for n in (9, 10, 20, 25, 90)},
        **{f"sma_{n}": talib.SMA(close, n) for n in (12, 50, 100, 200)},
        "rsi_daily": talib.RSI(close, 14),
        "rsi_weekly": _of_week_before(days, close, lambda weekly: talib.RSI(weekly, 14)),
        "stochrsi_daily": _stochastic_rsi(close),
        "stochrsi_weekly": _of_week_before(days, close, _stochastic_rsi),
        "macd_line": talib.MACD(close, 12, 26, 9)[0],
        "obv": talib.OBV(close, volume),
        "adosc": talib.ADOSC(high, low, close, volume, 3, 10),
        "atr_14": talib.ATR(high, low, close, 14),
        "adx_14": talib.ADX(high, low, close, 14),
        "bb_percent_b": _percent_b(close),
        "vwap_20": _volume_weighted_price(close, volume),
    }
    return columns | {spec.name: computed[spec.name] for spec in A25 if spec.name in computed}


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


def _percent_b(close: PriceArray) -> PriceArray:
    upper, _, lower = talib.BBANDS(close, _BOLLINGER_DAYS, 2.0, 2.0)
    width = upper - lower
    # A flat price sits in the middle of bands that have no width.
    flat = width == 0
    percent: PriceArray = np.where(flat, 0.5, (close - lower) / np.where(flat, 1.0, width))
    return percent


def _volume_weighted_price(close: PriceArray, volume: PriceArray) -> PriceArray:
    traded = trailing_sum(volume, _VWAP_DAYS)
    value = trailing_sum(close * volume, _VWAP_DAYS)
    # Without any volume every price weighs the same.
    silent = traded == 0
    plain = trailing_sum(close, _VWAP_DAYS) / _VWAP_DAYS
    price: PriceArray = np.where(silent, plain, value / np.where(silent, 1.0, traded))
    return price


def trailing_sum(values: PriceArray, n_days: int) -> PriceArray:
    """Return the sum of each value and the ``n_days - 1`` before it, NaN where they are fewer.

    Each window is summed by itself: a running sum would carry its rounding on for ever.
    """
    sums = np.full(len(values), np.nan)
    if len(values) >= n_days:
        windows = np.lib.stride_tricks.sliding_window_view(values, n_days)
        sums[n_days - 1 :] = windows.sum(axis=1)
    return sums
