"""Checks of how wide bars are beside how far their closes move, from year to year."""

from typing import NamedTuple

import numpy as np

from study.data.arrays import PriceArray
from study.data.checks.check_result import FEW_SHOWN, Finding, error, listed
from study.data.reading.columns import CLOSE, HIGH, LOW, VOLUME
from study.data.reading.tables import BarTable

_YEAR_BARS, _BLOCK_BARS = 250, 25
"""Bars of trade on either side of a day that are compared, about a year, and bars of a block within
them: volatility lasts for weeks, so the blocks of a year are near independent and the bars not."""

_LEAST_FACTOR, _LEAST_ERRORS = 1.3, 6.0
"""Least factor of a lasting change in mean range over mean absolute return, and how many of its
standard errors it must be. Between adjoining years the ratio changes by a factor of up to 1.16 in
the S&P 500 since 1982-04-21, 1.18 in the NASDAQ index, 1.15 in the synthetic market and 1.24 in
AAPL, GOOG, IBM and MSFT of 2000 to 2013; where its noise is least, 1.1 may be 6.2 standard errors.
Of 300 stocks of ten years whose returns have a t law of 3 degrees, 4 % reach 1.3, and none with 6
standard errors. The bars of ``great_tables`` change by 2.0 on 1982-04-21, which
is 14. Bars of four markets, widened before a random day by a factor of 1.5, 1.75 and 2 as far as
Open and Close allow, were refused within two weeks of that day in 50, 58 and 60 of 60 cases."""

_LEAST_RATIO, _MOST_RATIO = 0.1, 100.0
"""Ratios that stand for those below and above: of bars without range, of closes that stand still.
"""

_NOTHING = 1e-9
"""Log range or log return that is rounding, of a bar or of all bars of a year."""

_NEAR_BARS = 31
"""Bars around a day whose mean absolute return is the volatility of that day: six weeks."""

_BASIS_POINT = 1e-4
"""Least range and return that have a logarithm here."""


class _Change(NamedTuple):
    """A lasting change in range over return."""

    at: int
    """First bar of trade after it."""
    before: float
    """Mean range over mean absolute return in the year before."""
    after: float
    """The same of the year after."""


def ranges_stay_of_one_kind(table: BarTable) -> list[Finding]:
    """Is there a day from which on bars are lastingly wider or narrower than their returns ask for?

    The range of a day and the return of its close have the same volatility, so their ratio is free
    of it: 2 on a Brownian path without gaps, less where prices move overnight. It moves at once and
    for good where highs and lows are of another source or another kind, as of quotes, of an index
    from the extremes of its stocks, or of a fill-in. A change less than a year from either end of
    the bars is not looked for.
    """
    values = table.values
    ranges = np.log(values[:, HIGH] / values[:, LOW])
    # Where nobody trades there is neither range nor return.
    traded = np.flatnonzero((values[:, VOLUME] > 0) | (ranges > 0))
    if len(traded) < 2 * _YEAR_BARS:
        return []
    ranges, close = ranges[traded], np.log(values[traded, CLOSE])
    changes = _changes(ranges, np.abs(np.diff(close, prepend=close[0])))
    if not changes:
        return []
    told = [
        f"{table.days[traded[each.at]]} from {each.before:.2f} to {each.after:.2f} (last bar "
        f"before {table.days[traded[each.at - 1]]})"
        for each in changes
    ]
    return [
        error(
            f"{table.dated_place(int(traded[changes[-1].at]))}: High and Low must be of one kind, "
            "but got a mean range that changes lastingly against the mean absolute return of "
            f"Close: {listed(told, FEW_SHOWN)}. Remove the bars of the kind that is wrong, mostly "
            "those before."
        )
    ]


def _changes(ranges: PriceArray, moves: PriceArray) -> list[_Change]:
    """Return the lasting changes, oldest first, no two within a year."""
    log_ratio, variance = _yearly_ratios(ranges, moves)
    year = _YEAR_BARS
    step = np.abs(log_ratio[year:] - log_ratio[:-year])
    noise = np.sqrt(variance[year:] + variance[:-year])
    large = (step >= np.log(_LEAST_FACTOR)) & (step >= _LEAST_ERRORS * noise)
    score = np.where(large, step, 0.0)
    found = []
    while score.max() > 0:
        start = int(np.argmax(score))
        both = slice(start, start + 2 * year)
        at = start + _first_bar_after(ranges[both], moves[both])
        before, after = slice(max(at - year, 0), at), slice(at, at + year)
        found.append(
            _Change(
                at,
                float(_ratio(ranges[before].sum(), moves[before].sum())),
                float(_ratio(ranges[after].sum(), moves[after].sum())),
            )
        )
        score[max(start - year, 0) : start + year + 1] = 0.0
    return sorted(found)


def _yearly_ratios(ranges: PriceArray, moves: PriceArray) -> tuple[PriceArray, PriceArray]:
    """Return the log of mean range over mean return of each year, and its variance, by first bar.

    The variance is that of a ratio of sums over blocks (the delta method). A crash or a split is in
    one block, and raises it as much as the ratio.
    """
    n_blocks = _YEAR_BARS // _BLOCK_BARS
    firsts = np.arange(len(ranges) - _YEAR_BARS + 1)[:, None]
    blocks = firsts + _BLOCK_BARS * np.arange(n_blocks)
    in_range, in_moves = _sums(ranges)[blocks], _sums(moves)[blocks]
    all_range, all_moves = in_range.sum(axis=1), in_moves.sum(axis=1)
    ratio = _ratio(all_range, all_moves)
    misses = in_range - ratio[:, None] * in_moves
    variance = (misses**2).sum(axis=1) / np.maximum(all_range, _NOTHING) ** 2
    variance *= n_blocks / (n_blocks - 1)
    return np.log(np.maximum(ratio, _LEAST_RATIO)), variance


def _ratio(ranges: PriceArray, moves: PriceArray) -> PriceArray:
    ratio: PriceArray = np.minimum(ranges / np.maximum(moves, _NOTHING), _MOST_RATIO)
    return ratio


def _first_bar_after(ranges: PriceArray, moves: PriceArray) -> int:
    """Return the bar before which the bars are best parted in two, by the least sum of squares.

    Parted are the logs of range over volatility, in which a change is a step.
    """
    near = np.lib.stride_tricks.sliding_window_view(
        np.pad(moves, _NEAR_BARS // 2, mode="edge"), _NEAR_BARS
    ).mean(axis=1)
    logs = np.log(np.maximum(ranges, _BASIS_POINT)) - np.log(np.maximum(near, _BASIS_POINT))
    n, so_far = len(logs), np.cumsum(logs)
    before = np.arange(1, n)
    gain = (so_far[:-1] - before / n * so_far[-1]) ** 2 / (before * (n - before))
    return 1 + int(np.argmax(gain))


def _sums(values: PriceArray) -> PriceArray:
    sums: PriceArray = np.lib.stride_tricks.sliding_window_view(values, _BLOCK_BARS).sum(axis=1)
    return sums
