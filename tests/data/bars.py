"""Bars with a fault at a place of one's choice, and markets that are unusual and right."""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd

from study.data.checks.check_result import CheckResult
from study.data.checks.price_checks import check_table
from study.data.reading.tables import table_from_frame
from study.data.sources import load_prices

PRICES = ["Open", "High", "Low", "Close"]
EMBEDDED = ("nasdaq", "sp500", "synthetic")
"""Names of the markets that the project holds."""


@cache
def embedded(name: str) -> pd.DataFrame:
    """Return the bars of an embedded market, read once; nothing may write to them."""
    return load_prices(name).frame


def results_of(frame: pd.DataFrame, accept: Sequence[str] = ()) -> dict[str, CheckResult]:
    return {each.name: each for each in check_table(table_from_frame(frame, "bars"), accept)}


def refused(frame: pd.DataFrame) -> set[str]:
    return {name for name, each in results_of(frame).items() if each.status == "error"}


def rescaled_before(frame: pd.DataFrame, at: int, factor: float) -> pd.DataFrame:
    """Return bars whose prices before a row are on another level: that of an unadjusted split."""
    changed = frame.astype(float)
    changed.iloc[:at, :4] *= factor
    return changed


def with_bar(frame: pd.DataFrame, at: int, factor: float) -> pd.DataFrame:
    changed = frame.astype(float)
    changed.iloc[at, :4] *= factor
    return changed


def with_cell(frame: pd.DataFrame, at: int, column: str, factor: float) -> pd.DataFrame:
    values = frame[column].to_numpy(dtype=np.float64).copy()
    values[at] *= factor
    return frame.assign(**{column: values})


def resampled(frame: pd.DataFrame, rule: str) -> pd.DataFrame:
    how = {"Open": "first", "High": "max", "Low": "min", "Close": "last", "Volume": "sum"}
    return frame.resample(rule).agg(how).dropna()


def every_calendar_day(frame: pd.DataFrame, how: Literal["copy", "flat", "line"]) -> pd.DataFrame:
    """Return bars on weekends and holidays too: copies, the close without volume, or a line."""
    days = frame.asfreq("D")
    if how == "line":
        return days.interpolate()
    filled = days.ffill()
    if how == "flat":
        new = days["Close"].isna()
        filled.loc[new, PRICES] = np.repeat(filled.loc[new, ["Close"]].to_numpy(), 4, axis=1)
        filled.loc[new, "Volume"] = 0.0
    return filled


def stock(seed: int, n_days: int = 2_500, sd: float = 0.03) -> pd.DataFrame:
    """Return a stock whose returns overnight and by day have a t law with 3 degrees of freedom.

    Args:
        seed: of the generator.
        n_days: bars.
        sd: of a day's log return.
    """
    generator = np.random.default_rng(seed)

    def t3(size: tuple[int, ...], spread: float) -> np.ndarray:
        mixing = 1 / np.sqrt(generator.chisquare(3, n_days))
        return spread * generator.standard_normal(size) * mixing.reshape(-1, *[1] * (len(size) - 1))

    overnight = t3((n_days,), sd * 0.3**0.5)
    path = np.cumsum(t3((n_days, 13), sd * (0.7 / 13) ** 0.5), axis=1)
    close = np.cumsum(overnight + path[:, -1])
    open_ = np.append(0.0, close[:-1]) + overnight
    move = np.abs(overnight + path[:, -1]) / sd
    return pd.DataFrame(
        {
            "Open": 50 * np.exp(open_),
            "High": 50 * np.exp(open_ + np.maximum(path.max(axis=1), 0)),
            "Low": 50 * np.exp(open_ + np.minimum(path.min(axis=1), 0)),
            "Close": 50 * np.exp(close),
            "Volume": np.round(1e6 * (1 + move) * np.exp(0.5 * generator.standard_normal(n_days))),
        },
        index=pd.bdate_range("2005-01-03", periods=n_days, name="Date"),
    )


def thin_stock(seed: int, n_days: int = 1_500) -> pd.DataFrame:
    """Return a stock in which nobody trades on a random half of the days."""
    frame = stock(seed, n_days, sd=0.03)
    silent = np.random.default_rng(seed).random(n_days) < 0.5
    silent[0] = False
    frame["Volume"] = np.where(silent, 0.0, np.ceil(frame["Volume"] / 1e4))
    close = frame["Close"].where(~silent).ffill()
    for column in PRICES:
        frame[column] = np.where(silent, close, frame[column])
    return frame
