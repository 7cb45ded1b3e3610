"""Labels and the auxiliary targets of each day, from raw prices only."""

import numpy as np
import pandas as pd

from study.data.arrays import PriceArray, SampleArray
from study.data.data_config import LabelKind


def make_labels(
    bars: pd.DataFrame, *, kind: LabelKind, horizon: int, threshold: float
) -> SampleArray:
    """Return the label of each day under one of the three kinds.

    Args:
        bars: raw daily bars, oldest first.
        kind: see ``label_high``, ``label_close`` and ``label_direction``.
        horizon: trading days ahead, >= 1; day t itself is excluded.
        threshold: return that must be reached, 0.01 for 1 %; ignored by ``direction``.

    Returns: float32 of shape (n_days,): 1 yes, 0 no, NaN for the last ``horizon`` days.
    """
    high, close = bars["High"].to_numpy(), bars["Close"].to_numpy()
    if kind == "high":
        return label_high(high, close, horizon=horizon, threshold=threshold)
    if kind == "close":
        return label_close(close, horizon=horizon, threshold=threshold)
    return label_direction(close, horizon=horizon)


def make_fall_labels(
    bars: pd.DataFrame, *, kind: LabelKind, horizon: int, threshold: float
) -> SampleArray | None:
    """Return the label of each day with the market upside down: does it fall as far?

    Where ``high`` asks for a high of close * (1 + threshold), this asks for a low of close * (1 -
    threshold); where ``close`` asks for a close, this does too.

    Args:
        bars: raw daily bars, oldest first.
        kind: kind of the label that is turned upside down.
        horizon: trading days ahead, >= 1; day t itself is excluded.
        threshold: return that must be reached, 0.01 for 1 %.

    Returns: as ``make_labels``; None for ``direction``, whose counterpart is its complement and
        says nothing new.
    """
    if kind == "direction":
        return None
    close = bars["Close"].to_numpy()
    falling = bars["Low"].to_numpy() if kind == "high" else close
    lowest = _next_days(falling, horizon).min(axis=1)
    return _as_label(lowest <= close * (1 - threshold), horizon)


def label_high(
    high: PriceArray, close: PriceArray, *, horizon: int, threshold: float
) -> SampleArray:
    """Does the high reach close * (1 + threshold) within the next ``horizon`` days?"""
    return _as_label(_next_days(high, horizon).max(axis=1) >= close * (1 + threshold), horizon)


def label_close(close: PriceArray, *, horizon: int, threshold: float) -> SampleArray:
    """Does a close reach close * (1 + threshold) within the next ``horizon`` days?"""
    return _as_label(_next_days(close, horizon).max(axis=1) >= close * (1 + threshold), horizon)


def label_direction(close: PriceArray, *, horizon: int) -> SampleArray:
    """Is the close after ``horizon`` days higher than today's?"""
    return _as_label(_next_days(close, horizon)[:, -1] > close, horizon)


LEAST_RANGE = 1e-4
"""Least range of a day, relative: one below a basis point counts as one, for a day without a trade
has no logarithm."""


def log_range(high: PriceArray, low: PriceArray, *, horizon: int) -> PriceArray:
    """Return the logarithm of the range, ln(highest high / lowest low), of the next days.

    The logarithm is taken twice because ranges are near log-normal: a squared error on the range
    itself would be about a few days of 2008.

    Returns: float64 of shape (n_days,), NaN for the last ``horizon`` days.
    """
    highest = _next_days(high, horizon).max(axis=1)
    lowest = _next_days(low, horizon).min(axis=1)
    target: PriceArray = np.log(np.maximum(np.log(highest / lowest), LEAST_RANGE))
    return target


def _next_days(values: PriceArray, horizon: int) -> PriceArray:
    """Return values[t + 1 .. t + horizon] in row t, NaN past the end; shape (n_days, horizon)."""
    padded = np.append(values, np.full(horizon, np.nan))
    return np.lib.stride_tricks.sliding_window_view(padded[1:], horizon)


def _as_label(answer: np.ndarray[tuple[int], np.dtype[np.bool_]], horizon: int) -> SampleArray:
    label = answer.astype(np.float32)
    label[max(len(label) - horizon, 0) :] = np.nan
    return label
