"""Checks of a bar beside its neighbours: jumps, broken cells, broken volumes."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from study.data.arrays import IndexArray, PriceArray
from study.data.checks.calendar_checks import runs
from study.data.checks.check_result import FEW_SHOWN, Finding, error, listed, warning
from study.data.reading.columns import BAR_COLUMNS, CLOSE, HIGH, LOW, OPEN, VOLUME
from study.data.reading.tables import ROUNDING, BarTable

_Flags = npt.NDArray[np.bool_]

_REACH = 15
"""Bars on either side that show what is usual near a bar."""

_OTHER_LEVEL, _SHIFT_IN_RANGES, _EXACT = 1.8, 5.0, 0.02
"""Least factor of a shift that fits no usual ratio, how many usual daily ranges any shift must be,
and how exact (in logs) a ratio must be met where prices hardly move overnight."""

_ORDINARY_RANGE, _ORDINARY_VOLUME = 3.0, 2.0
"""The day of a split has at most so many times the usual range and (in shares, after the split) the
usual volume. Real news has more of either: AAPL opened at half its price on 2000-09-29, with 12
times its volume. Planted at 60 random days each of sp500, nasdaq and the synthetic market, every
split 2:1, 4:1 and 1:10 was refused and 99 % of 3:2; in stocks of 2 to 4 % a day whose returns have
a t law of 3 degrees 90, 97, 100 and 85 %, and nearly all others were reported as large moves. Of
480 such stocks of ten years without a split 1 % were refused (of those of 4 % a day 2 %)."""

_BROKEN, _BROKEN_IN_RANGES = 2.5, 10.0
"""Least factor of a cell that sticks out of its neighbours on both sides, and how many usual daily
ranges it must be. The largest of 22,000 real bars is 7.1 ranges (AAPL's Low in the flash crash of
2010-05-06, 1.24 times below); sp500 and nasdaq have at most 3.1."""

_ODD, _ODD_IN_RANGES = 1.15, 5.0
"""Least factor of a move or a cell that is worth a warning, and how many usual daily ranges it must
be."""

_BROKEN_VOLUME, _VOLUME_IN_SD, _ODD_VOLUME = 30.0, 6.0, 10.0
"""Least factor of a broken volume against the bars around, and how many robust standard deviations
of their log volume it must be; least factor that is worth a warning. The largest of 22,000 real
bars are 15 (FB's first day) and 12 (AAPL, 2000-09-29), with 4.3 sd; where trade is thin, 30 times
the usual volume is fewer than 6 sd."""

_VOLUME_BARS, _LEAST_FALLS = 100, 0.25
"""Bars of trade in a row whose volume must vary, and the least share of its changes that are falls,
and that are rises. In sp500, nasdaq and the synthetic market half of the changes are falls, and no
volume is there three times in a row."""

_RATIOS = (
    (2, 1), (3, 1), (3, 2), (4, 1), (5, 1), (10, 1), (100, 1), (5, 2), (6, 1), (7, 1), (8, 1),
    (15, 1), (20, 1), (25, 1), (30, 1), (40, 1), (50, 1), (1000, 1),
)  # fmt: skip
"""Usual splits and units (100 pence to the pound), the commonest first."""

_LEAST_BARS = 10
"""Bars with range, or with volume, below which there is no usual one."""

_OVERNIGHT = 3.0
"""How many usual moves overnight a split may miss its ratio by: two standard deviations."""

_LEAST_STEP = float(np.log(1.4))
"""Least step of a log price that can be a split: a little below 3:2, the smallest usual one."""


class Scale(NamedTuple):
    """What is usual near each bar."""

    ranges: PriceArray
    """Log of High / Low, shape (n_bars,)."""
    usual_range: PriceArray
    """Median of the ranges nearby; where bars have no range, that of the log return of two bars."""


def measure_scale(values: PriceArray) -> Scale:
    """Return what is usual near each bar.

    Two bars are compared and not one with the next: where two instruments alternate, every return
    is large, and only every second bar is of the same one.

    Args:
        values: bars of shape (n_bars, 5) in the order of BAR_COLUMNS.
    """
    logs = np.log(values[:, :VOLUME])
    ranges = logs[:, HIGH] - logs[:, LOW]
    close = logs[:, CLOSE]
    over_two = np.zeros(len(close))
    over_two[2:] = np.abs(close[2:] - close[:-2])
    return Scale(ranges, np.maximum(local_median(ranges), local_median(over_two)))


def local_median(values: PriceArray, reach: int = _REACH) -> PriceArray:
    """Return the median of the ``2 reach + 1`` values around each, fewer at the ends."""
    n = len(values)
    width = min(2 * reach + 1, n)
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    return medians[np.clip(np.arange(n) - reach, 0, n - width)]


def levels_hold(table: BarTable) -> list[Finding]:
    """Is there a day on which prices move to another level as a split would move them?

    Such a day opens far from the close before, and is ordinary else: its range and its volume are
    those of the days around. A crash is not: that is a warning of ``moves_are_usual``.
    """
    rows, steps, tolerance = _level_shifts(table)
    if not len(rows):
        return []
    told = [
        f"{table.days[row]} to {np.exp(step):.4g} of the close before{_looks_like(step, allowed)}"
        for row, step, allowed in zip(rows, steps, tolerance, strict=True)
    ]
    return [
        error(
            f"{table.dated_place(rows[0])}: prices must stay on "
            f"one level, but got prices that move on {listed(told, FEW_SHOWN)}, on a day of "
            "ordinary range and volume. Give prices that are adjusted for splits, of one "
            "instrument and in one unit."
        )
    ]


def _level_shifts(table: BarTable) -> tuple[IndexArray, PriceArray, PriceArray]:
    """Return the rows of the shifts, the step of the log price, and how exact a ratio it can be."""
    values = table.values
    if len(values) < _LEAST_BARS:
        return np.array([], dtype=np.int64), np.array([]), np.array([])
    scale = measure_scale(values)
    logs = np.log(values[:, :VOLUME])
    close_before = np.append(logs[0, OPEN], logs[:-1, CLOSE])
    opened, moved = logs[:, OPEN] - close_before, logs[:, CLOSE] - close_before
    # Where a vendor fills in the close before, the opening shows nothing, and lies in the range.
    filler = np.abs(opened) <= ROUNDING
    step = np.where(filler, moved, opened)
    to_the_end = np.where(moved < 0, logs[:, CLOSE] - logs[:, LOW], logs[:, HIGH] - logs[:, CLOSE])
    day_range = np.where(filler, to_the_end, scale.ranges)
    volume = values[:, VOLUME]
    usual_volume = local_median(volume)
    in_shares = _ORDINARY_VOLUME * np.maximum(1.0, np.exp(-step))
    ordinary = (day_range <= _ORDINARY_RANGE * scale.usual_range) & (
        (volume <= in_shares * usual_volume) | (usual_volume == 0)
    )
    # A split is exact but for what the price did overnight.
    tolerance = np.maximum(_EXACT, _OVERNIGHT * local_median(np.abs(step)))
    fits = np.array(
        [bool(_looks_like(*each)) for each in zip(step, tolerance, strict=True)], dtype=np.bool_
    )
    size = np.abs(step)
    far = (size >= _SHIFT_IN_RANGES * scale.usual_range) & (
        fits | ((size >= np.log(_OTHER_LEVEL)) & ~filler)
    )
    # The close must have gone most of the way, or the opening alone is broken.
    stays = moved * np.sign(step) >= 0.5 * size
    told = _beside(_broken_bars(values, scale)[0] > 0)
    rows = np.flatnonzero(far & ordinary & stays & ~told)
    return rows, step[rows], tolerance[rows]


def _looks_like(step: float, tolerance: float) -> str:
    """Return what a step of the log price looks like; empty if it fits no usual ratio."""
    if abs(step) < _LEAST_STEP:
        return ""
    misses = [(abs(abs(step) - np.log(many / few)), many, few) for many, few in _RATIOS]
    miss, many, few = min(misses)
    if miss > tolerance:
        return ""
    if (many, few) in ((100, 1), (1000, 1)):
        return f", which looks like another unit (1 to {many}, as pence and pounds)"
    if step > 0:
        return f", which looks like an unadjusted reverse split {few}:{many}"
    return f", which looks like an unadjusted split {many}:{few}"


def bars_fit_their_neighbours(table: BarTable) -> list[Finding]:
    """Does a price stick out of its neighbours on both sides?"""
    if len(table.days) < 3:
        return []
    scale = measure_scale(table.values)
    sticks_out, column = _broken_bars(table.values, scale)
    broken = np.flatnonzero(sticks_out > 0)
    found = []
    if len(broken) > 0.2 * len(table.days):
        at = int(broken[0])
        found.append(
            error(
                f"{table.dated_place(at)}: prices must stay on one "
                f"level, but got {len(broken)} of {len(table.days)} bars that lie far from both "
                "neighbours: rows of several instruments seem to alternate. Keep those of one."
            )
        )
    elif len(broken):
        at = int(broken[0])
        shown = listed(
            [_described(table, int(row), column, sticks_out) for row in broken], FEW_SHOWN
        )
        found.append(
            error(
                f"{table.dated_place(at)}: a bar must fit those "
                f"beside it, but got {shown}. Take the bar from the source, or remove the row."
            )
        )
    odd, column = _excursions(table.values)
    odd_rows = np.flatnonzero(
        (odd >= np.log(_ODD)) & (odd >= _ODD_IN_RANGES * scale.usual_range) & (sticks_out == 0)
    )
    if len(odd_rows):
        shown = listed([_described(table, int(row), column, odd) for row in odd_rows], FEW_SHOWN)
        found.append(warning(f"{table.where}: bars that stick out of those beside them: {shown}"))
    return found


def _described(table: BarTable, row: int, column: IndexArray, size: PriceArray) -> str:
    name, value = BAR_COLUMNS[column[row]], table.values[row, column[row]]
    return f"{table.days[row]} {name}={value:.6g}, {np.exp(size[row]):.4g} times off"


def _broken_bars(values: PriceArray, scale: Scale) -> tuple[PriceArray, IndexArray]:
    """Return by how much (in logs) a bar sticks out, 0 where it does not, and its worst column."""
    size, column = _excursions(values)
    broken = (size >= np.log(_BROKEN)) & (size >= _BROKEN_IN_RANGES * scale.usual_range)
    return np.where(broken, size, 0.0), column


def _excursions(values: PriceArray) -> tuple[PriceArray, IndexArray]:
    """Return how far (in logs) each bar sticks out on a way that returns, and its worst column.

    The way of a day leads from the close before over Open, High and Low to Close, and on to the
    next close: a price sticks out by the smaller of its distances to what it came from and went to.
    """
    open_, high, low, close = np.log(values[:, :VOLUME]).T
    before, after = np.append(open_[0], close[:-1]), np.append(close[1:], close[-1])
    out = np.stack(
        (
            _both_ways(open_ - before, open_ - close),
            high - np.maximum(open_, close),
            np.minimum(open_, close) - low,
            _both_ways(close - before, close - after),
        )
    )
    return out.max(axis=0), out.argmax(axis=0)


def _both_ways(there: PriceArray, back: PriceArray) -> PriceArray:
    least: PriceArray = np.minimum(np.abs(there), np.abs(back))
    return np.where(np.sign(there) == np.sign(back), least, 0.0)


def _beside(flags: _Flags) -> _Flags:
    """Return the flagged rows and those after them: a bar that is wrong makes two moves."""
    either: _Flags = flags | np.append(False, flags[:-1])
    return either


def moves_are_usual(table: BarTable) -> list[Finding]:
    """Say which closes moved far: a crash, or something that no rule knows."""
    if len(table.days) < 3:
        return []
    scale = measure_scale(table.values)
    move = np.append(0.0, np.diff(np.log(table.values[:, CLOSE])))
    told = _beside(_broken_bars(table.values, scale)[0] > 0)
    told[_level_shifts(table)[0]] = True
    far = (np.abs(move) >= np.log(_ODD)) & (np.abs(move) >= _ODD_IN_RANGES * scale.usual_range)
    rows = np.flatnonzero(far & ~told)
    if not len(rows):
        return []
    shown = listed(
        [
            f"{table.days[row]} {np.expm1(move[row]):+.1%} ({_in_ranges(move, scale, row)})"
            for row in rows.tolist()
        ],
        FEW_SHOWN,
    )
    return [warning(f"{table.where}: closes that moved far: {shown}")]


def _in_ranges(move: PriceArray, scale: Scale, row: int) -> str:
    usual = scale.usual_range[row]
    return (
        f"{abs(move[row]) / usual:.0f} usual daily ranges" if usual else "where prices stood still"
    )


def volumes_fit_their_neighbours(table: BarTable) -> list[Finding]:
    """Is a volume far above those around it, or on another level from some day on?"""
    traded = np.flatnonzero(table.values[:, VOLUME] > 0)
    if len(traded) <= 2 * _REACH:
        return []
    logs = np.log(table.values[traded, VOLUME])
    usual = local_median(logs)
    excess = logs - usual
    sd = 1.4826 * local_median(np.abs(excess))
    # On a day of great moves a great volume is news, and right.
    calm = _calm_days(table.values)[traded]
    broken = calm & (excess >= np.log(_BROKEN_VOLUME)) & (excess >= _VOLUME_IN_SD * sd)
    found = []
    if broken.any():
        at = int(traded[np.argmax(broken)])
        shown = listed(
            [
                f"{table.days[traded[row]]} {np.exp(excess[row]):.4g} times"
                for row in np.flatnonzero(broken)
            ],
            FEW_SHOWN,
        )
        found.append(
            error(
                f"{table.dated_place(at)} column Volume: must be of "
                f"the size of those around it, but got {table.values[at, VOLUME]:.6g} ({shown} "
                "the usual). Take the volume from the source, or remove the row."
            )
        )
    odd = (excess >= np.log(_ODD_VOLUME)) & ~broken
    if odd.any():
        shown = listed(
            [
                f"{table.days[traded[row]]} {np.exp(excess[row]):.3g} times"
                for row in np.flatnonzero(odd)
            ],
            FEW_SHOWN,
        )
        found.append(warning(f"{table.where}: volumes far above those around them: {shown}"))
    return found + _volume_levels(table, traded, logs)


def volumes_vary(table: BarTable) -> list[Finding]:
    """Is each volume that of its own day, and no running total and no filler?"""
    traded = np.flatnonzero(table.values[:, VOLUME] > 0)
    steps = np.sign(np.diff(table.values[traded, VOLUME]))
    found = []
    start, stop = max(runs(steps == 0), key=lambda run: run[1] - run[0], default=(0, 0))
    if stop - start + 1 >= _VOLUME_BARS:
        first, last = traded[start], traded[stop]
        found.append(
            error(
                f"{table.dated_place(first)} column Volume: must "
                f"vary, but got {table.values[first, VOLUME]:.6g} on {stop - start + 1} bars of "
                f"trade in a row, to {table.days[last]}: it looks like a filler. Take the volumes "
                "from the source."
            )
        )
    changes = np.flatnonzero(steps)
    width = _VOLUME_BARS
    if len(changes) < width:
        return found
    falls = np.lib.stride_tricks.sliding_window_view(steps[changes] < 0, width).mean(axis=1)
    at = int(np.argmax(np.abs(falls - 0.5)))
    rarer = min(falls[at], 1 - falls[at])
    if rarer < _LEAST_FALLS:
        first, last = traded[changes[at]], traded[changes[at + width - 1] + 1]
        way = "rise" if falls[at] < 0.5 else "fall"
        found.append(
            error(
                f"{table.dated_place(first)} column Volume: must "
                f"be that of its own day, but got volumes that {way} on {1 - rarer:.0%} of "
                f"{width} changes, to {table.days[last]}: it looks like a running total. Give "
                "what was traded on each day."
            )
        )
    return found


def _calm_days(values: PriceArray) -> _Flags:
    """Return on which days neither range nor close moved far."""
    scale = measure_scale(values)
    moved = np.abs(np.diff(np.log(values[:, CLOSE]), prepend=np.log(values[0, OPEN])))
    calm: _Flags = np.maximum(moved, scale.ranges) <= _ODD_IN_RANGES * scale.usual_range
    return calm


def _volume_levels(table: BarTable, traded: IndexArray, logs: PriceArray) -> list[Finding]:
    """Say where the usual volume changes at once, as from shares to lots."""
    width = _REACH
    windows = np.median(np.lib.stride_tricks.sliding_window_view(logs, width), axis=1)
    step = windows[width:] - windows[:-width]
    at = int(np.argmax(np.abs(step)))
    if abs(step[at]) < np.log(_BROKEN_VOLUME):
        return []
    day = table.days[traded[at + width]]
    return [
        warning(
            f"{table.where}: the usual volume changes near {day} by {np.exp(step[at]):.4g}: "
            "another unit?"
        )
    ]


def zero_volumes(table: BarTable) -> list[Finding]:
    """Say on which days nothing was traded."""
    zero = table.values[:, VOLUME] == 0
    if not zero.any():
        return []
    shown = listed([str(day) for day in table.days[zero]])
    return [warning(f"{table.where}: zero volume on {zero.sum()} days: {shown}")]
