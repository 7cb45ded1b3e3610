"""What makes a volatility index wrong: by itself, and beside the prices that it is used with."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from study.data.arrays import DayArray, PriceArray
from study.data.calendar_checks import (
    bars_lie_a_day_apart,
    long_gaps,
    runs,
    weekdays_are_those_of_trade,
)
from study.data.findings import CheckResult, Finding, error, judge, listed, warning
from study.data.vix_series import VixSeries

_CONSTANT_VALUES = 5
"""Equal values in a row that are refused. Of the embedded series 0.3 % repeat the value before."""

_LINEAR_SHARE = 0.1
"""Share of the values midway between their neighbours from which on a series is interpolated. Of the
embedded series it is 0.2 %."""

_BROKEN, _NEW_LEVEL = 2.5, 5.0
"""Factor to both neighbours of a broken value, and to one of another unit. On 2018-02-05 the index
rose by 2.16, and fell by 1.24 the day after; on 1987-10-19 its forerunner rose by 4.13."""

_LEAST_LEVEL = 3.0
"""Percent a year. The lowest close of the index is 9.14 (2017-11-03): below are fractions."""

_LAGS = 5
_LEAST_DAYS = 100
_CORRELATION, _MARGIN = 0.4, 0.2
"""Least correlation of the changes of index and prices at another lag, and by how much it must
exceed that of the same day. By year, the embedded series has -0.7 to -0.9 with sp500 and nasdaq on
the same day and at most 0.25 at the others, as any two series have: 0.4 is four standard errors of
100 days."""

_SHOWN = 5


def check_vix(vix: VixSeries, accept: Collection[str] = ()) -> tuple[CheckResult, ...]:
    """Run every check that a series can pass by itself.

    Args:
        vix: the index.
        accept: names of the checks whose refusal is overridden, of ACCEPTABLE.
    """
    where, days = _where(vix), vix.days
    midnights = np.zeros(len(days), dtype=np.int64)
    found: dict[str, list[Finding]] = {
        "vix-spacing": bars_lie_a_day_apart(where, days),
        "vix-weekdays": weekdays_are_those_of_trade(where, days, midnights, frozenset()),
        "vix-filled-values": _filled_values(where, vix),
        "vix-broken-value": _broken_values(where, vix),
        "vix-level": _level(where, vix),
        "vix gaps": long_gaps(where, days, np.arange(2, len(days) + 2)),
    }
    return tuple(judge(name, findings, accept) for name, findings in found.items())


def check_vix_timing(
    vix: VixSeries, days: DayArray, close: PriceArray, accept: Collection[str] = ()
) -> CheckResult:
    """Look whether index and prices move on the same day, year by year.

    A series that is dated a day early knows the prices of tomorrow, and everything that is found
    with it is false. It falls when the market rises; if it does so on the day before, it is shifted.

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
    year, lag, there, same_day = told[0]
    days_off = f"{abs(lag)} {'day' if abs(lag) == 1 else 'days'}"
    way = "early: it knows prices that come after it" if lag > 0 else "late"
    message = (
        f"{_where(vix)}: the index must move on the same day as the prices, but got a correlation "
        f"of {there:+.2f} with the returns {days_off} {'later' if lag > 0 else 'earlier'} and of "
        f"{same_day:+.2f} with those of the same day, in {listed([str(y[0]) for y in told], _SHOWN)}. "
        f"It seems to be dated {days_off} {way} (a time zone was dropped, or the market closes "
        "before the index is made): date it by the day from which on it is known."
    )
    return judge("vix-timing", [error(message)], accept)


def _peak(changes: PriceArray, returns: PriceArray) -> tuple[int, float, float]:
    """Return the lag of the returns at which they move with the index, and both correlations.

    Returns: lag in days (0 if it is the same day, or if none can be told), correlation there, and
        on the same day.
    """
    n = len(changes)
    if n < _LEAST_DAYS or np.ptp(changes) == 0 or np.ptp(returns) == 0:
        return 0, 0.0, 0.0
    centred = [(each - each.mean()) / each.std() for each in (changes, returns)]
    by_lag = {
        lag: float(
            np.mean(centred[0][max(0, -lag) : n - max(0, lag)] * centred[1][max(0, lag) : n + min(0, lag)])
        )
        for lag in range(-_LAGS, _LAGS + 1)
    }
    peak = max(by_lag, key=lambda lag: abs(by_lag[lag]))
    if abs(by_lag[peak]) < max(_CORRELATION, abs(by_lag[0]) + _MARGIN):
        return 0, by_lag[0], by_lag[0]
    return peak, by_lag[peak], by_lag[0]


def _where(vix: VixSeries) -> str:
    return f"vix {Path(vix.origin).name}"


def _filled_values(where: str, vix: VixSeries) -> list[Finding]:
    values, days = vix.values, vix.days
    found = []
    same = np.diff(values) == 0
    constant = [run for run in runs(same) if run[1] - run[0] + 1 >= _CONSTANT_VALUES]
    advice = "Leave the days without a value out: nothing must be filled in."
    if constant:
        shown = listed([f"{days[a]} to {days[b]}" for a, b in constant], _SHOWN)
        found.append(
            error(
                f"{where}: values must move, but got {_CONSTANT_VALUES} equal ones in a row or "
                f"more on {shown}. {advice}"
            )
        )
    weekend = np.isin((days.astype(np.int64) + 4) % 7, (0, 6))
    copies = np.append(False, same) & weekend
    if copies.sum() > 0.5 * weekend.sum():
        shown = listed([str(day) for day in days[copies]], _SHOWN)
        found.append(
            error(
                f"{where}: a value must be of a day of trade, but got {copies.sum()} on weekends "
                f"that repeat the one before: {shown}. {advice}"
            )
        )
    if len(values) >= _LEAST_DAYS:
        midway = (values[2:] + values[:-2]) / 2
        linear = (np.abs(values[1:-1] - midway) <= 1e-9 * midway) & (values[2:] != values[:-2])
        if linear.mean() > _LINEAR_SHARE:
            first = days[1:-1][linear][0]
            found.append(
                error(
                    f"{where}: a value must be of its day, but got {linear.mean():.0%} that lie "
                    f"midway between their neighbours, from {first} on: a series of weeks or months "
                    "that was interpolated knows values that come after it. Give daily values."
                )
            )
    return found


def _broken_values(where: str, vix: VixSeries) -> list[Finding]:
    steps = np.diff(np.log(vix.values))
    there, back = steps[:-1], steps[1:]
    size = np.where(np.sign(there) == -np.sign(back), np.minimum(np.abs(there), np.abs(back)), 0.0)
    broken = np.flatnonzero(size >= np.log(_BROKEN)) + 1
    if not len(broken):
        return []
    shown = listed(
        [f"{vix.days[at]} {vix.values[at]:.6g}, {np.exp(size[at - 1]):.4g} times off" for at in broken],
        _SHOWN,
    )
    return [
        error(
            f"{where}: a value must fit those beside it, but got {shown}. Take it from the source, "
            "or leave it out."
        )
    ]


def _level(where: str, vix: VixSeries) -> list[Finding]:
    found = []
    middle = float(np.median(vix.values))
    if middle < _LEAST_LEVEL:
        found.append(
            error(
                f"{where}: must be in percent a year, but got a median of {middle:.4g}. Multiply "
                "fractions by 100."
            )
        )
    steps = np.diff(np.log(vix.values))
    size = np.abs(steps)
    returns = np.append(np.sign(steps[:-1]) == -np.sign(steps[1:]), False)
    spikes = returns & (np.append(size[1:], 0.0) >= np.log(_BROKEN)) & (size >= np.log(_BROKEN))
    told = spikes | np.append(False, spikes[:-1])
    for at in np.flatnonzero((size >= np.log(_NEW_LEVEL)) & ~told)[:_SHOWN]:
        found.append(
            error(
                f"{where}: values must stay on one level, but got {vix.values[at]:.6g} and "
                f"{vix.values[at + 1]:.6g} on {vix.days[at]} and {vix.days[at + 1]}. Bring them to "
                "percent a year."
            )
        )
    far = np.flatnonzero((size >= np.log(_BROKEN)) & (size < np.log(_NEW_LEVEL)) & ~told)
    if len(far):
        shown = listed([f"{vix.days[at + 1]} by {np.exp(steps[at]):.3g}" for at in far], _SHOWN)
        found.append(warning(f"{where}: values that moved far: {shown}"))
    return found
