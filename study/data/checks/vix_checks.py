"""Checks of a volatility index by itself."""

from collections.abc import Collection
from datetime import date

import numpy as np

from study.data.arrays import DayArray, PriceArray
from study.data.checks.calendar_checks import (
    bars_lie_a_day_apart,
    current_day,
    days_have_come,
    long_gaps,
    on_weekends,
    runs,
    weekdays_are_those_of_trade,
)
from study.data.checks.check_result import (
    FEW_SHOWN,
    CheckResult,
    Finding,
    error,
    judge,
    listed,
    warning,
)

_CONSTANT_VALUES = 5
"""Equal values in a row that are refused. Of the embedded series 0.3 % repeat the value before."""

_LINEAR_SHARE, _LEAST_DAYS = 0.1, 100
"""Share of the values midway between their neighbours from which on a series of so many days is
interpolated. Of the embedded series it is 0.2 %."""

_BROKEN, _NEW_LEVEL = 2.5, 5.0
"""Factor to both neighbours of a broken value, and to one of another unit. On 2018-02-05 the index
rose by 2.16, and fell by 1.24 the day after; on 1987-10-19 its forerunner rose by 4.13."""

_LEAST_LEVEL, _MOST_LEVEL = 3.0, 100.0
"""Least and greatest median, percent a year. The lowest close of the index is 9.14 (2017-11-03):
below are fractions. The highest is 82.69 (2020-03-16): above are hundredths of a percent, or
prices."""


def check_vix(
    name: str,
    days: DayArray,
    values: PriceArray,
    accept: Collection[str] = (),
    today: date | None = None,
) -> tuple[CheckResult, ...]:
    """Run every check that a series can pass by itself.

    Args:
        name: of the series or its file, for messages.
        days: datetime64[D] of shape (n_days,), ascending.
        values: shape (n_days,), > 0.
        accept: names of the checks whose refusal is overridden, of ACCEPTABLE.
        today: what values may be dated up to, with a day of grace; the current day if None.
    """
    where = f"vix {name}"
    midnights = np.zeros(len(days), dtype=np.int64)
    found: dict[str, list[Finding]] = {
        "vix-future-days": days_have_come(where, days, today or current_day()),
        "vix-spacing": bars_lie_a_day_apart(where, days),
        "vix-weekdays": weekdays_are_those_of_trade(where, days, midnights, frozenset()),
        "vix-filled-values": _filled_values(where, days, values),
        "vix-broken-value": _broken_values(where, days, values),
        "vix-level": _level(where, days, values),
        "vix gaps": long_gaps(where, days),
    }
    return tuple(judge(name, findings, accept) for name, findings in found.items())


def _filled_values(where: str, days: DayArray, values: PriceArray) -> list[Finding]:
    found = []
    same = np.diff(values) == 0
    constant = [run for run in runs(same) if run[1] - run[0] + 1 >= _CONSTANT_VALUES]
    advice = "Leave the days without a value out: nothing must be filled in."
    if constant:
        shown = listed([f"{days[a]} to {days[b]}" for a, b in constant], FEW_SHOWN)
        found.append(
            error(
                f"{where}: values must move, but got {_CONSTANT_VALUES} equal ones in a row or "
                f"more on {shown}. {advice}"
            )
        )
    weekend = on_weekends(days)
    copies = np.append(False, same) & weekend
    if copies.sum() > 0.5 * weekend.sum():
        shown = listed([str(day) for day in days[copies]], FEW_SHOWN)
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
                    f"midway between their neighbours, from {first} on: a series of weeks or "
                    "months that was interpolated knows what comes after. Give daily values."
                )
            )
    return found


def _broken_values(where: str, days: DayArray, values: PriceArray) -> list[Finding]:
    steps = np.diff(np.log(values))
    there, back = steps[:-1], steps[1:]
    size = np.where(np.sign(there) == -np.sign(back), np.minimum(np.abs(there), np.abs(back)), 0.0)
    broken = np.flatnonzero(size >= np.log(_BROKEN)) + 1
    if not len(broken):
        return []
    shown = listed(
        [f"{days[at]} {values[at]:.6g}, {np.exp(size[at - 1]):.4g} times off" for at in broken],
        FEW_SHOWN,
    )
    return [
        error(
            f"{where}: a value must fit those beside it, but got {shown}. Take it from the source, "
            "or leave it out."
        )
    ]


def _level(where: str, days: DayArray, values: PriceArray) -> list[Finding]:
    found = []
    middle = float(np.median(values))
    if middle < _LEAST_LEVEL:
        found.append(
            error(
                f"{where}: must be in percent a year, but got a median of {middle:.4g}. Multiply "
                "fractions by 100."
            )
        )
    if middle > _MOST_LEVEL:
        found.append(
            error(
                f"{where}: must be in percent a year, but got a median of {middle:.6g}, and the "
                "highest close so far is 82.69. Divide hundredths of a percent by 100; if these "
                "are prices, give the index itself."
            )
        )
    steps = np.diff(np.log(values))
    size = np.abs(steps)
    returns = np.append(np.sign(steps[:-1]) == -np.sign(steps[1:]), False)
    spikes = returns & (np.append(size[1:], 0.0) >= np.log(_BROKEN)) & (size >= np.log(_BROKEN))
    told = spikes | np.append(False, spikes[:-1])
    for at in np.flatnonzero((size >= np.log(_NEW_LEVEL)) & ~told)[:FEW_SHOWN]:
        found.append(
            error(
                f"{where}: values must stay on one level, but got {values[at]:.6g} and "
                f"{values[at + 1]:.6g} on {days[at]} and {days[at + 1]}. Bring them to "
                "percent a year."
            )
        )
    far = np.flatnonzero((size >= np.log(_BROKEN)) & (size < np.log(_NEW_LEVEL)) & ~told)
    if len(far):
        shown = listed([f"{days[at + 1]} by {np.exp(steps[at]):.3g}" for at in far], FEW_SHOWN)
        found.append(warning(f"{where}: values that moved far: {shown}"))
    return found
