"""Statistics of a trailing window of days; NaN where the window is not full."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from study.data.arrays import PriceArray

BoolArray = npt.NDArray[np.bool_]


def over_windows(
    values: PriceArray, n_days: int, reduce: Callable[[PriceArray], PriceArray]
) -> PriceArray:
    """Return ``reduce`` of each value and the ``n_days - 1`` before it, NaN where one is NaN.

    Each window is reduced by itself: a running sum would carry its rounding on for ever.

    Args:
        values: shape (n_bars,).
        n_days: length of the window.
        reduce: turns windows of shape (n_windows, n_days) into shape (n_windows,).
    """
    reduced = np.full(len(values), np.nan)
    if len(values) >= n_days:
        windows = np.lib.stride_tricks.sliding_window_view(values, n_days)
        known = ~np.isnan(windows).any(axis=1)
        reduced[n_days - 1 :][known] = reduce(windows[known])
    return reduced


def trailing_sum(values: PriceArray, n_days: int) -> PriceArray:
    """Return the sum of each window."""
    sums = np.full(len(values), np.nan)
    if len(values) >= n_days:
        windows = np.lib.stride_tricks.sliding_window_view(values, n_days)
        sums[n_days - 1 :] = windows.sum(axis=1)
    return sums


def trailing_mean(values: PriceArray, n_days: int) -> PriceArray:
    """Return the mean of each window."""
    return trailing_sum(values, n_days) / n_days


def trailing_sd(values: PriceArray, n_days: int) -> PriceArray:
    """Return the sample standard deviation (ddof 1) of each window, exactly 0 for equal values."""

    def reduce(windows: PriceArray) -> PriceArray:
        sd: PriceArray = windows.std(axis=1, ddof=1)
        sd[windows.max(axis=1) == windows.min(axis=1)] = 0.0
        return sd

    return over_windows(values, n_days, reduce)


def highest(values: PriceArray, n_days: int) -> PriceArray:
    """Return the largest value of each window."""
    return over_windows(values, n_days, lambda windows: windows.max(axis=1))


def lowest(values: PriceArray, n_days: int) -> PriceArray:
    """Return the smallest value of each window."""
    return over_windows(values, n_days, lambda windows: windows.min(axis=1))


def percentile_below(values: PriceArray, n_days: int) -> PriceArray:
    """Return the percentage of the earlier values of a window strictly below its last one."""
    return over_windows(
        values,
        n_days,
        lambda windows: 100.0 * (windows[:, :-1] < windows[:, -1:]).sum(axis=1) / (n_days - 1),
    )


def position_in_range(
    values: PriceArray, n_days: int, high: PriceArray | None = None, low: PriceArray | None = None
) -> PriceArray:
    """Return where a value lies between the window's lowest (0) and highest (1); 0.5 if they meet.

    Args:
        values: shape (n_bars,).
        n_days: length of the window.
        high: what the highest is taken from; ``values`` if None.
        low: what the lowest is taken from; ``values`` if None.
    """
    bottom = lowest(values if low is None else low, n_days)
    top = highest(values if high is None else high, n_days)
    # A vendor's rounding may leave the Close a last digit outside.
    return ratio(values - bottom, top - bottom, empty=0.5).clip(0.0, 1.0)


def days_since_highest(values: PriceArray, n_days: int) -> PriceArray:
    """Return the days since the window's largest value, its latest occurrence."""
    return over_windows(
        values, n_days, lambda windows: windows[:, ::-1].argmax(axis=1).astype(np.float64)
    )


def earlier(values: PriceArray, n_days: int) -> PriceArray:
    """Return the values of ``n_days`` bars before, NaN where there was none."""
    return np.append(np.full(min(n_days, len(values)), np.nan), values[:-n_days])


def change(values: PriceArray, n_days: int) -> PriceArray:
    """Return how much each value differs from the one ``n_days`` bars before."""
    return values - earlier(values, n_days)


def percent_change(values: PriceArray, n_days: int) -> PriceArray:
    """Return the change over ``n_days`` bars in percent."""
    return 100 * (values / earlier(values, n_days) - 1)


def ratio(numerator: PriceArray, denominator: PriceArray, empty: float = 0.0) -> PriceArray:
    """Return numerator / denominator, ``empty`` where the denominator is 0."""
    nothing = denominator == 0
    quotient: PriceArray = np.where(nothing, empty, numerator / np.where(nothing, 1.0, denominator))
    return quotient


def days_since(event: BoolArray, cap: int) -> PriceArray:
    """Return the days since the last event, 0 on its day, ``cap`` where that many have passed."""
    at = np.arange(len(event))
    last = np.maximum.accumulate(np.where(event, at, -cap))
    return np.minimum(at - last, cap).astype(np.float64)


def run_length(state: PriceArray, cap: int) -> PriceArray:
    """Return how many days in a row the sign of ``state`` has been what it is, with that sign.

    0 where ``state`` is 0 or NaN; counted up to ``cap``.
    """
    sign = np.sign(np.nan_to_num(state))
    turned = np.append(True, np.diff(sign) != 0)
    return sign * np.minimum(days_since(turned, cap) + 1, cap)


def crossed(difference: PriceArray) -> BoolArray:
    """Return whether the sign differs from that of the bar before; 0 counts as below."""
    above = difference > 0
    return np.append(False, above[1:] != above[:-1]) & ~np.isnan(earlier(difference, 1))
