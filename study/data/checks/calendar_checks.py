"""Checks of the days of a series: their spacing, their weekdays, the days it leaves out."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from study.data.arrays import DayArray, IndexArray
from study.data.checks.check_result import MOST_SHOWN, Finding, error, listed, warning

MAX_GAP_DAYS = 7
"""Calendar days between two bars above which a warning is given: longer than any usual holiday."""

_WIDE_GAPS, _WIDE_DAYS = 5, 6
"""Number of gaps in a row, and their least days, that make bars those of weeks or months. A stock
that trades on a random half of the days has such a run once in 60,000 bars (0.11 of its gaps are
that wide)."""

_LEAST_SHARE, _WEEK = 2 / 3, 5
"""Least share of the days of trade for which a year has rows, and how many of these a week has. A
market has 96 % of its weekdays but holidays; rows of Monday, Wednesday and Friday are 60 %."""

_YEAR = 52 * 7
"""Days of open market that are judged together, whole weeks."""

_FULL_WEEK = 3
"""Bars from which on a week counts: one of holidays, or of weekly bars, says nothing of
weekdays."""

_MISSING_WEEKS, _BARS_A_WEEK = 8, 3.5
"""A weekday is missing if so many weeks in a row lack it although they hold so many bars on
average. Eight weeks are shorter than the part of a year that summer time shifts."""

_SUNDAY, _MONDAY, _FRIDAY, _SATURDAY = 0, 1, 5, 6
_NAMES = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")

_SECONDS_A_DAY = 24 * 3600
_EVENING = 21 * 3600
"""Seconds after midnight from which on a stamp may be the midnight of a market further east."""


def current_day() -> date:
    """Return the current day in Greenwich."""
    return datetime.now(UTC).date()


def days_have_come(
    where: str, days: DayArray, today: date, place: Callable[[int], str] | None = None
) -> list[Finding]:
    """Is no row of a day that is still to come?

    Args:
        where: the file, for messages.
        days: datetime64[D] of shape (n_days,), ascending.
        today: the day from which on days are still to come, but for tomorrow: in the east of
            Greenwich it may have begun.
        place: names a row for a message, where it is known.
    """
    n_come = int(np.searchsorted(days, np.datetime64(today + timedelta(days=1)), side="right"))
    if n_come == len(days):
        return []
    named = where if place is None else place(n_come)
    more = len(days) - n_come - 1
    others = f" (and {more} more, to {days[-1]})" if more else ""
    return [
        error(
            f"{named} ({days[n_come]}) column Date: must be no day to come, but got "
            f"{days[n_come]}{others}, and today is {today}. Correct the date, or remove the row: "
            "nobody has traded on it."
        )
    ]


def bars_lie_a_day_apart(where: str, days: DayArray) -> list[Finding]:
    """Does the series hold days, and not weeks or months?

    Args:
        where: the file, for messages.
        days: datetime64[D] of shape (n_days,), ascending.
    """
    gaps = np.diff(days).astype(np.int64)
    wide = [run for run in runs(gaps >= _WIDE_DAYS) if run[1] - run[0] >= _WIDE_GAPS]
    if not wide:
        return _days_are_not_left_out(where, days, gaps)
    start, stop = max(wide, key=lambda run: run[1] - run[0])
    n_bars = sum(last - first for first, last in wide)
    usual = int(np.median(gaps[start:stop]))
    part = "the file" if n_bars >= 0.9 * len(gaps) else f"{n_bars} of {len(days)} rows"
    return [
        error(
            f"{where}: rows must lie a trading day apart, but got rows {usual} days apart from "
            f"{days[start]} to {days[stop]} ({part}). Give daily rows: every feature, label and "
            "horizon counts rows as days."
        )
    ]


def _days_are_not_left_out(where: str, days: DayArray, gaps: IndexArray) -> list[Finding]:
    """Has every year rows on most days of its five busiest weekdays?

    Which five they are is the market's own: from Sunday to Thursday, or all seven of a coin.
    """
    # A market that was closed for weeks left no day out: a closure counts as one day.
    open_days = np.append(0, np.cumsum(np.where(gaps > MAX_GAP_DAYS, 1, gaps)))
    starts = np.flatnonzero(open_days <= open_days[-1:] - _YEAR + 1)
    if not len(starts):
        return []
    stops = np.searchsorted(open_days, open_days[starts] + _YEAR)
    weekday = _days_since_a_sunday(days) % 7
    so_far = np.zeros((len(days) + 1, 7), dtype=np.int64)
    so_far[1:] = np.cumsum(weekday[:, None] == np.arange(7), axis=0)
    busiest = np.sort(so_far[stops] - so_far[starts], axis=1)[:, -_WEEK:]
    share = busiest.sum(axis=1) / (_YEAR / 7 * _WEEK)
    at = int(np.argmin(share))
    if share[at] >= _LEAST_SHARE:
        return []
    return [
        error(
            f"{where}: rows must lie a trading day apart, but got rows on {share[at]:.0%} of the "
            f"days of trade, {_WEEK} a week, from {days[starts[at]]} to {days[stops[at] - 1]}. "
            "Give a row for every day of trade: every feature, label and horizon counts rows as "
            "days."
        )
    ]


def weekdays_are_those_of_trade(
    where: str, days: DayArray, seconds: IndexArray, zones: frozenset[str]
) -> list[Finding]:
    """Do the days fall on the weekdays on which they were traded?

    A midnight east of Greenwich, written in UTC, is 22:00 or 23:00 of the day before: Mondays
    become Sundays, and no row falls on a Friday.

    Args:
        where: the file, for messages.
        days: datetime64[D] of shape (n_days,), ascending.
        seconds: time of day of each stamp, shape (n_days,); 0 where the file holds days.
        zones: the time zones that the stamps name.
    """
    number = _days_since_a_sunday(days)
    weeks, at = np.unique(number // 7, return_inverse=True)
    has = np.zeros((len(weeks), 7), dtype=np.bool_)
    has[at, number % 7] = True
    first_days = days[np.searchsorted(at, np.arange(len(weeks)))]
    full = has.sum(axis=1) >= _FULL_WEEK
    has, first_days = has[full], first_days[full]
    for missing, beside, told in ((_FRIDAY, _SUNDAY, "early"), (_MONDAY, _SATURDAY, "late")):
        run = _missing_run(has, missing)
        if run is not None:
            first, last = first_days[run[0]], first_days[run[1] - 1]
            shifted = bool(has[run[0] : run[1], beside].mean() > 0.5)
            message = _shifted(missing, beside if shifted else None, told, _moved(seconds, zones))
            return [error(f"{where}: {message[0]} from {first} to {last}. {message[1]}")]
    found = []
    for weekday in range(_MONDAY + 1, _FRIDAY):
        run = _missing_run(has, weekday)
        if run is not None:
            first, last = first_days[run[0]], first_days[run[1] - 1]
            found.append(warning(f"{where}: no {_NAMES[weekday]} from {first} to {last}"))
    weekend = on_weekends(days)
    rare = len(has) > 0 and has[:, [_SUNDAY, _SATURDAY]].any(axis=1).mean() < 0.5
    if weekend.any() and rare:
        shown = listed([str(day) for day in days[weekend]])
        found.append(warning(f"{where}: {weekend.sum()} rows lie on a weekend: {shown}"))
    late = bool((seconds >= _EVENING).any())
    if late and has[:, _SUNDAY].mean() > 0.5:
        found.append(
            warning(
                f"{where}: {_clock(seconds, zones)}; a row may belong to the day after, and "
                "a market that trades on all days does not tell"
            )
        )
    return found


def on_weekends(days: DayArray) -> npt.NDArray[np.bool_]:
    """Say which days are Saturdays or Sundays."""
    return np.isin(_days_since_a_sunday(days) % 7, (_SUNDAY, _SATURDAY))


def _days_since_a_sunday(days: DayArray) -> IndexArray:
    # 1970-01-01 was a Thursday.
    return days.astype(np.int64) + 4


def _shifted(missing: int, beside: int | None, told: str, moved: str) -> tuple[str, str]:
    """Return the finding that days may have been moved, and its remedy."""
    rule = f"rows must be dated by the day of their trade, but got no {_NAMES[missing]}"
    cure = f"Either every row is dated a day {told} because {moved}; "
    if beside is None:
        return rule, cure + f"or the market was closed on {_NAMES[missing]}."
    if missing == _FRIDAY:
        return (
            f"{rule} and {_NAMES[beside]} in their place",
            cure + "or the market trades from Sunday to Thursday (Saudi Arabia, Israel).",
        )
    return (
        f"{rule} and {_NAMES[beside]} in their place",
        cure + "or the market trades from Tuesday to Saturday.",
    )


def _moved(seconds: IndexArray, zones: frozenset[str]) -> str:
    """Say what may have moved the days by a time zone, and what to do."""
    if _are_midnights_of_utc(seconds, zones):
        return (
            "midnights of UTC, which name days, were moved to another time zone: leave --timezone "
            "out, or give --timezone UTC if the file itself shows that zone"
        )
    clock = _clock(seconds, zones)
    if not clock:
        return "a time zone was dropped: date the rows by the market's own clock"
    return (
        f"a time zone was dropped ({clock}): import the file with --timezone and the market's "
        "zone, such as Europe/Berlin"
    )


def _are_midnights_of_utc(seconds: IndexArray, zones: frozenset[str]) -> bool:
    """Are all stamps midnights of UTC, shown by the clock of zones west or east of Greenwich?"""
    shown = set()
    for zone in zones - {"+00:00"}:
        hours, minutes = zone[1:].split(":")
        offset = int(hours) * 3600 + int(minutes) * 60
        shown.add((-offset if zone[0] == "-" else offset) % _SECONDS_A_DAY)
    return bool(shown) and shown.issuperset(np.unique(seconds).tolist())


def _clock(seconds: IndexArray, zones: frozenset[str]) -> str:
    """Say which times the stamps show; empty if they are days."""
    if not seconds.any():
        return ""
    first, last = (
        f"{each // 3600:02}:{each // 60 % 60:02}" for each in (seconds.min(), seconds.max())
    )
    named = f" in the zone {', '.join(sorted(zones))}" if zones else ""
    return f"stamps show {first if first == last else f'{first} to {last}'}{named}"


def _missing_run(has: npt.NDArray[np.bool_], weekday: int) -> tuple[int, int] | None:
    """Return the longest run of weeks that lack a weekday, if it is long and its weeks full."""
    lacking = runs(~has[:, weekday])
    start, stop = max(lacking, key=lambda run: run[1] - run[0], default=(0, 0))
    if stop - start < _MISSING_WEEKS or has[start:stop].sum(axis=1).mean() < _BARS_A_WEEK:
        return None
    return start, stop


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return start and stop of each stretch of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def long_gaps(
    where: str, days: DayArray, place: Callable[[int], str] | None = None
) -> list[Finding]:
    """Say where more than MAX_GAP_DAYS pass without a bar; ``place`` names a row, where known."""
    gaps = np.diff(days).astype(np.int64)
    long = np.flatnonzero(gaps > MAX_GAP_DAYS)
    found = [
        warning(
            f"{where if place is None else place(int(at) + 1)}: {gaps[at]} calendar days without "
            f"a bar, {days[at]} to {days[at + 1]}"
        )
        for at in long[:MOST_SHOWN]
    ]
    if len(long) > MOST_SHOWN:
        found.append(warning(f"{where}: {len(long) - MOST_SHOWN} more such gaps"))
    return found
