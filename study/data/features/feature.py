"""The definition of a feature: name, computation, look-back, and how it becomes an input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from study.data.arrays import DayArray, PriceArray
from study.data.data_config import FeatureSource
from study.data.reading.tables import BAR_COLUMNS
from study.data.vix_series import VixSeries

InputRule = Literal[
    "as_is",
    "log",
    "log_to_close",
    "to_close",
    "centred_percent",
    "centred_share",
    "log_return",
    "to_mean_volume",
    "to_volume",
    "change_to_volume",
]
"""How a feature becomes free of the level of price and volume; ``study.data.inputs`` has the
formulas."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """The arrays that features are computed from, float64 of shape (n_bars,), oldest first."""

    days: DayArray
    """Days of the bars, datetime64[D]."""
    open: PriceArray
    high: PriceArray
    low: PriceArray
    close: PriceArray
    volume: PriceArray
    vix: VixSeries | None = None
    """Volatility index, which has days of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSpec:
    """The meaning of one column, and how far it looks back."""

    name: str
    formula: str
    look_back: int
    """Bars needed for the first value, the current one included; weeks if ``weekly``."""
    compute: Callable[[Bars], PriceArray]
    """Function that returns one value per bar; those of the first ``look_back - 1`` bars are not
    used."""
    to_input: InputRule
    recursive: bool = False
    """Does it depend on bars older than ``look_back``, with a weight that fades?"""
    weekly: bool = False
    source: FeatureSource = "ohlcv"
    """Which series the feature is made of."""


def feature(
    name: str,
    formula: str,
    look_back: int,
    compute: Callable[[Bars], PriceArray],
    to_input: InputRule = "as_is",
    *,
    recursive: bool = False,
    weekly: bool = False,
    source: FeatureSource = "ohlcv",
) -> FeatureSpec:
    """Return a spec; tiers are tables of these."""
    return FeatureSpec(
        name=name,
        formula=formula,
        look_back=look_back,
        compute=compute,
        to_input=to_input,
        recursive=recursive,
        weekly=weekly,
        source=source,
    )


def bars_of(frame: pd.DataFrame, vix: VixSeries | None = None) -> Bars:
    """Return the arrays of a frame of bars."""
    # TA-Lib takes contiguous float64 only.
    open_, high, low, close, volume = (
        np.ascontiguousarray(frame[name].to_numpy(), dtype=np.float64) for name in BAR_COLUMNS
    )
    days = frame.index.to_numpy().astype("datetime64[D]")
    return Bars(days=days, open=open_, high=high, low=low, close=close, volume=volume, vix=vix)
