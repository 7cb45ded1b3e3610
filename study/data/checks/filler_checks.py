"""Checks of what was filled in and not traded: whole bars, prices that stand still, fields."""

import numpy as np
import numpy.typing as npt

from study.data.arrays import DayArray, PriceArray
from study.data.checks.calendar_checks import on_weekends, runs
from study.data.checks.check_result import FEW_SHOWN, Finding, error, listed, warning
from study.data.reading.columns import BAR_COLUMNS, CLOSE, HIGH, LOW, OPEN, VOLUME
from study.data.reading.tables import BarTable

_Flags = npt.NDArray[np.bool_]

_MOST_COPIES, _COPIED_SHARE = 3, 0.005
"""Number of copies, and their share of the bars, from which on a series is filled and has not one
odd day. Markets close on about nine weekdays a year, 3.5 % of them."""

_REPEATED_BARS = 5
"""Bars in a row that are, in every cell, those of other days; sp500 and nasdaq have none."""

_CONSTANT_BARS, _SILENT_BARS, _STILL_BARS = 10, 20, 5
"""Bars in a row without any move that are refused: where there was trade, and where most had no
volume; and those that are worth a warning. A stock that trades on a random half of its days stands
still for 20 bars once in 500,000."""

_STALE_SHARE = 0.2
"""Share of equal prices below which they are chance; the S&P 500 of 2000 has 98 %."""


def filled_bars(table: BarTable) -> list[Finding]:
    """Are there bars of days without trade, made of their neighbours?"""
    values, days = table.values, table.days
    if len(days) < 3:
        return []
    weekend = on_weekends(days)
    prices, volume = values[:, :VOLUME], values[:, VOLUME]
    moves = prices.max(axis=1) > prices.min(axis=1)
    same_prices = np.append(False, (prices[1:] == prices[:-1]).all(axis=1))
    same_volume = np.append(False, volume[1:] == volume[:-1])
    at_close = np.append(False, (prices[1:] == values[:-1, [CLOSE]]).all(axis=1))
    silent = (volume == 0) | same_volume
    # Without range and without volume a bar stands still by right: nobody traded.
    copies = same_prices & silent & (moves | (volume > 0))
    still = (same_prices | at_close) & silent
    between = _interpolated(values)
    found = []
    weekend_copies = (still | between) & weekend
    weekdays = ~weekend
    if weekend_copies.sum() >= _MOST_COPIES and (
        weekend_copies.sum() > 0.5 * weekend.sum()
        and (still & weekdays).sum() < 0.25 * max(int(weekdays.sum()), 1)
    ):
        found.append(_filled(table, weekend_copies, "lie on a weekend and repeat their neighbours"))
        copies, between = copies & weekdays, between & weekdays
    for flags, how in (
        (copies, "repeat the bar before, in every cell"),
        (between, "lie midway between their neighbours, in every cell"),
    ):
        if not flags.any():
            continue
        n = int(flags.sum())
        if n >= _MOST_COPIES and n >= _COPIED_SHARE * len(days):
            found.append(_filled(table, flags, how))
        else:
            shown = listed([str(day) for day in days[flags]])
            found.append(warning(f"{table.where}: {n} bars {how}: {shown}"))
    return found


def stretches_differ(table: BarTable) -> list[Finding]:
    """Is no stretch of bars in the file twice, as when two downloads are pasted together?"""
    values, days = table.values, table.days
    if len(days) < 2:
        return []
    # A bar without range and volume may come again by chance.
    tells = (values[:, HIGH] > values[:, LOW]) & (values[:, VOLUME] > 0)
    _, first, kind = np.unique(values, axis=0, return_index=True, return_inverse=True)
    at = np.arange(len(values))
    behind = at - first[kind.reshape(-1)]
    again = tells & (behind > 1)
    # One bar after the other, as far behind as the one before.
    in_step = again[1:] & again[:-1] & (np.diff(behind) == 0)
    twice = [run for run in runs(in_step) if run[1] - run[0] + 1 >= _REPEATED_BARS]
    if not twice:
        return []
    start, stop = twice[0]
    return [
        error(
            f"{table.dated_place(start)}: a stretch of bars must be in "
            f"a file once, but got {stop - start + 1} bars from {days[start]} to {days[stop]} that "
            f"are those of {days[start - behind[start]]} to {days[stop - behind[stop]]}. Take them "
            "from the source, or remove them."
        )
    ]


def _interpolated(values: PriceArray) -> _Flags:
    """Say which bars are the mean of their neighbours, as a resampled series has them."""
    midway = (values[2:] + values[:-2]) / 2
    # Vendors round prices to the cent.
    near = np.abs(values[1:-1] - midway) <= 1e-5 * midway
    changes = (values[2:] != values[:-2]).all(axis=1)
    inside: _Flags = near.all(axis=1) & changes
    return np.concatenate(([False], inside, [False]))


def _filled(table: BarTable, flags: _Flags, how: str) -> Finding:
    at = int(np.argmax(flags))
    shown = listed([str(day) for day in table.days[flags]], FEW_SHOWN)
    return error(
        f"{table.dated_place(at)}: a bar must be a day of trade, but "
        f"got {flags.sum()} bars that {how}: {shown}. Remove these rows: nobody traded, and a "
        "model would learn that nothing happens."
    )


def prices_move(table: BarTable) -> list[Finding]:
    """Do prices stand still for weeks?"""
    stands = np.diff(table.values[:, :VOLUME], axis=0) == 0
    silent = table.values[:, VOLUME] == 0
    found = []
    longest: dict[str, tuple[int, int]] = {}
    for at, column in enumerate(BAR_COLUMNS[:VOLUME]):
        start, stop = max(runs(stands[:, at]), key=lambda run: run[1] - run[0], default=(0, 0))
        allowed = _SILENT_BARS if silent[start : stop + 1].mean() > 0.5 else _CONSTANT_BARS
        if stop - start + 1 >= allowed:
            longest[column] = (start, stop)
    if longest:
        start, stop = max(longest.values(), key=lambda run: run[1] - run[0])
        found.append(
            error(
                f"{table.dated_place(start)}: prices must move, "
                f"but got the same {', '.join(longest)} on {stop - start + 1} bars, "
                f"{table.days[start]} to {table.days[stop]}. Remove the rows if the trade was "
                "suspended; take them from the source if they were lost."
            )
        )
    still = [run for run in runs(stands.all(axis=1)) if run[1] - run[0] + 1 >= _STILL_BARS]
    if still and not longest:
        shown = listed([f"{table.days[a]} to {table.days[b]}" for a, b in still], FEW_SHOWN)
        found.append(
            warning(f"{table.where}: prices stand still for {_STILL_BARS} bars or more: {shown}")
        )
    return found


def stale_opens(table: BarTable) -> list[Finding]:
    """Say in which years the Open is a filler."""
    shares = stale_open_share(table.days, table.values)
    return _stale(table, shares, "Open equals the previous Close on many days")


def flat_bars(table: BarTable) -> list[Finding]:
    """Say in which years High and Low are fillers, of which labels and ranges are made."""
    traded = table.values[:, VOLUME] > 0
    flat = (table.values[:, HIGH] == table.values[:, LOW])[traded]
    shares = _share_by_year(table.days[traded], flat)
    return _stale(table, shares, "High equals Low on many days of trade")


def _stale(table: BarTable, shares: dict[int, float], what: str) -> list[Finding]:
    stale = [f"{year} {share:.0%}" for year, share in shares.items() if share > _STALE_SHARE]
    return [warning(f"{table.where}: {what}: {listed(stale)}")] if stale else []


def _share_by_year(days: DayArray, flags: _Flags) -> dict[int, float]:
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970
    return {int(year): float(flags[years == year].mean()) for year in np.unique(years)}


def stale_open_share(days: DayArray, values: PriceArray) -> dict[int, float]:
    """Return, by year, the share of days whose Open is just the previous Close.

    Such an Open is a filler, and where its share changes over the years a feature built on it
    tells the era.

    Args:
        days: datetime64[D] of shape (n_days,), oldest first.
        values: bars of shape (n_days, 5) in the order of BAR_COLUMNS.
    """
    return _share_by_year(days[1:], values[1:, OPEN] == values[:-1, CLOSE])
