"""Check that a volatility index moves on the same days as the prices that it is used with."""

from collections.abc import Collection

import numpy as np

from study.data.arrays import DayArray, PriceArray
from study.data.checks.check_result import FEW_SHOWN, CheckResult, error, judge, listed
from study.data.vix_series import VixSeries

_LAGS = 5
_LEAST_DAYS = 100
_CORRELATION, _MARGIN = 0.4, 0.2
"""Least correlation of the changes of index and prices at another lag, and by how much it must
exceed that of the same day. By year, the embedded series has -0.74 to -0.88 with sp500 and nasdaq
on the same day and at most 0.15 at the others, as any two series have: 0.4 is four standard errors
of 100 days."""


def check_vix_timing(
    vix: VixSeries, days: DayArray, close: PriceArray, accept: Collection[str] = ()
) -> CheckResult:
    """Check, year by year, whether index and prices move on the same day.

    A series that is dated a day early knows the prices of tomorrow, and everything that is found
    with it is false. The index falls when the market rises; if it does so a day before, it is
    shifted.

    Args:
        vix: the index.
        days: those of the prices, datetime64[D] of shape (n_bars,), ascending.
        close: shape (n_bars,).
        accept: names of the checks whose refusal is overridden.
    """
    common, at_vix, at_bar = np.intersect1d(vix.days, days, return_indices=True)
    changes = np.diff(np.log(vix.values[at_vix]))
    returns = np.diff(np.log(close[at_bar]))
    years = common[1:].astype("datetime64[Y]")
    told = []
    for year in np.unique(years):
        rows = years == year
        lag, there, same_day = _peak(changes[rows], returns[rows])
        if lag:
            told.append((year, lag, there, same_day))
    if not told:
        return judge("vix-timing", [], accept)
    _, lag, there, same_day = told[0]
    days_off = f"{abs(lag)} {'day' if abs(lag) == 1 else 'days'}"
    way = "early: it knows prices that come after it" if lag > 0 else "late"
    shown = listed([str(each[0]) for each in told], FEW_SHOWN)
    message = (
        f"vix {vix.name}: the index must move on the same day as the prices, but got a "
        f"correlation of {there:+.2f} with the returns {days_off} "
        f"{'later' if lag > 0 else 'earlier'} and of {same_day:+.2f} with those of the same day, "
        f"in {shown}. "
        f"It seems to be dated {days_off} {way} (a time zone was dropped, or the market closes "
        "before the index is made): date it by the day from which on it is known."
    )
    return judge("vix-timing", [error(message)], accept)


def _peak(changes: PriceArray, returns: PriceArray) -> tuple[int, float, float]:
    """Return the lag of the returns at which they move with the index, and both correlations.

    Returns: lag in days (0 if it is the same day, or if none stands out), correlation there, and
        on the same day.
    """
    n = len(changes)
    if n < _LEAST_DAYS or np.ptp(changes) == 0 or np.ptp(returns) == 0:
        return 0, 0.0, 0.0
    centred = [(each - each.mean()) / each.std() for each in (changes, returns)]
    by_lag = {
        lag: float(
            np.mean(
                centred[0][max(0, -lag) : n - max(0, lag)]
                * centred[1][max(0, lag) : n + min(0, lag)]
            )
        )
        for lag in range(-_LAGS, _LAGS + 1)
    }
    peak = max(by_lag, key=lambda lag: abs(by_lag[lag]))
    if abs(by_lag[peak]) < max(_CORRELATION, abs(by_lag[0]) + _MARGIN):
        return 0, by_lag[0], by_lag[0]
    return peak, by_lag[peak], by_lag[0]
