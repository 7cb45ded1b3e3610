"""The rules that every bar must keep by itself, and the order of the bars."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from study.data.checks.check_result import Finding, error
from study.data.reading.columns import (
    BAR_COLUMNS,
    CLOSE,
    DATE_COLUMN,
    HIGH,
    LOW,
    NEEDS_VOLUME,
    OPEN,
    VOLUME,
)
from study.data.reading.tables import ROUNDING, BarTable
from study.errors import quoted
from study.text.number_text import is_missing

PRICE_RANGE = (1e-9, 1e15)
"""Prices in quote currency. TA-Lib takes differences below 1e-14 for zero (TA_EPSILON in its
ta_utility.h), so a price needs five digits above that; bitcoin is near 1e9 in rupiah."""

VOLUME_RANGE = (1e-9, 1e18)
"""Volume of a day with trades. Bitcoins are traded in units of 1e-8; a day of the busiest token
(SHIB, shares of 1e-5 dollars) has been about 1e15. Beyond it the running sums of price times volume
lose the digits that they are made of."""

FIRST_DAY = np.datetime64("1700-01-01")
"""First possible day: prices of every trading day begin about there (Amsterdam, London)."""

MOST = 0.4
"""Share of the rows from which on a broken rule says something of the file and not of the row: of
two instruments on the same days half of the rows repeat the day before them, or a little less."""


class _Remedy(NamedTuple):
    """What to do about single rows, and about a file of which most rows break the rule."""

    row: str
    file: str


def _broken(
    table: BarTable,
    bad: npt.NDArray[np.bool_],
    column: str,
    rule: str,
    remedy: _Remedy,
    beside: tuple[str, ...] = (),
) -> list[Finding]:
    """Return one finding on the first bad row, or none; ``beside`` names columns to show too."""
    if not bad.any():
        return []
    at = int(np.argmax(bad))
    got = ", ".join(f"{name}={quoted(table.cells[name][at])}" for name in (column, *beside))
    others = int(bad.sum()) - 1
    more = f" (and {others} more {'row' if others == 1 else 'rows'})" if others else ""
    advice = remedy.row
    if others and bad.mean() >= MOST:
        understood = f" It was read as: {'; '.join(table.understood)}." if table.understood else ""
        advice = remedy.file + understood
    return [
        error(f"{table.dated_place(at)} column {column}: {rule}, but got {got}{more}. {advice}")
    ]


def has_bars(table: BarTable) -> list[Finding]:
    """Is there a bar at all?"""
    if len(table.days):
        return []
    rule = "must hold daily bars, but got rows=0. Give a file with prices."
    return [error(f"{table.where}: {rule}")]


def dates_are_days(table: BarTable) -> list[Finding]:
    """Is each date a day?"""
    remedy = _Remedy(
        "Correct the date, or remove the row if it holds no bar.",
        "Most rows have no such date: check which column holds it and how it is written.",
    )
    rule = f"must be a date such as 2024-03-28, and not before {FIRST_DAY}"
    bad = np.isnat(table.days) | (table.days < FIRST_DAY)
    return _broken(table, bad, DATE_COLUMN, rule, remedy)


def dates_differ(table: BarTable) -> list[Finding]:
    """Has each day one bar?"""
    bad = np.append(False, np.diff(table.days) == np.timedelta64(0, "D"))
    return _broken(
        table,
        bad[: len(table.days)],
        DATE_COLUMN,
        "must differ from the row before, one bar a day",
        _Remedy(_same_day(table, bad), _same_days(table)),
    )


def _same_day(table: BarTable, bad: npt.NDArray[np.bool_]) -> str:
    """Return what to do about two rows of one day."""
    at = int(np.argmax(bad))
    if np.array_equal(table.values[at - 1 : at], table.values[at : at + 1]):
        return "The two rows are equal: remove one of them."
    return (
        "The two bars differ: find out which one is right; if they are of two instruments keep "
        "one, and if they are parts of a day make them daily first."
    )


def _same_days(table: BarTable) -> str:
    """Return what to do if most rows share their day with another."""
    times = max(Counter(table.days.tolist()).values(), default=0)
    return (
        f"A day has up to {times} rows: if the file holds several instruments, keep the rows of "
        "one, and remove none for its date alone; if they are parts of a day, make them daily "
        "first."
    )


def dates_rise(table: BarTable) -> list[Finding]:
    """Is the oldest bar first?"""
    falls = np.append(False, np.diff(table.days) < np.timedelta64(0, "D"))[: len(table.days)]
    remedy = "Sort the file, oldest first; if several instruments follow each other, keep one."
    rule = "must be later than the row before"
    return _broken(table, falls, DATE_COLUMN, rule, _Remedy(remedy, remedy))


_UNITS = "Write volumes as plain numbers, or with K, M, B or T behind them: no other unit is known."


def cells_are_numbers(table: BarTable) -> list[Finding]:
    """Is each cell a finite number?"""
    missing = ~np.isfinite(table.values)
    empty_row: npt.NDArray[np.bool_] = np.all(missing, axis=1)
    found = []
    for at, column in enumerate(BAR_COLUMNS):
        bad: npt.NDArray[np.bool_] = missing[:, at]
        first = int(np.argmax(bad)) if bad.any() else 0
        row = (
            "Remove the row: a day without trade has no bar, and made-up values would be learnt."
            if bad.any() and empty_row[first]
            else "Take the value from the source, or remove the row; a made-up value would be "
            "learnt."
        )
        is_absent = bool(bad.any()) and is_missing(table.cells[column][first])
        file = (
            (NEEDS_VOLUME if is_absent else _UNITS)
            if column == "Volume"
            else "Most rows have none: check which column holds it, the separator, and whether "
            "numbers have a decimal comma, a percent sign or a unit."
        )
        rule = "must be a finite number"
        found += _broken(table, bad, column, rule, _Remedy(row, file))
    return found


def numbers_are_possible(table: BarTable) -> list[Finding]:
    """Are prices above zero, volumes not below it, and both of a size that can be reckoned with?"""
    least, most = PRICE_RANGE
    row = "Take the value from the source, or remove the row."
    found = []
    for at in (OPEN, HIGH, LOW, CLOSE):
        prices = table.values[:, at]
        not_prices = "Most rows have none: check whether the column holds prices, and not returns."
        rule = "must be > 0"
        found += _broken(table, prices <= 0, BAR_COLUMNS[at], rule, _Remedy(row, not_prices))
        outside = (prices > 0) & ((prices < least) | (prices > most))
        rule = f"must lie between {least:g} and {most:g}"
        unit = _Remedy(row, "Give the prices in another unit.")
        found += _broken(table, outside, BAR_COLUMNS[at], rule, unit)
    volumes = table.values[:, VOLUME]
    none = _Remedy(row, NEEDS_VOLUME)
    found += _broken(table, volumes < 0, "Volume", "must be >= 0", none)
    unit = _Remedy(row, "Give the volumes in another unit.")
    least, most = VOLUME_RANGE
    outside = ((volumes > 0) & (volumes < least)) | (volumes > most)
    rule = f"must be 0 or lie between {least:g} and {most:g}"
    return found + _broken(table, outside, "Volume", rule, unit)


_SWAPPED = "Most rows break it: check whether the columns are named rightly and of one unit."


def high_is_highest(table: BarTable) -> list[Finding]:
    """Is the High not below the other prices?"""
    highest = table.values[:, [OPEN, LOW, CLOSE]].max(axis=1)
    return _broken(
        table,
        table.values[:, HIGH] < highest * (1 - ROUNDING),
        "High",
        "must be >= Open, Low and Close",
        _Remedy("Take the bar from the source, or remove the row.", _SWAPPED),
        beside=("Open", "Low", "Close"),
    )


def low_is_lowest(table: BarTable) -> list[Finding]:
    """Is the Low not above the other prices?"""
    lowest = table.values[:, [OPEN, HIGH, CLOSE]].min(axis=1)
    return _broken(
        table,
        table.values[:, LOW] > lowest * (1 + ROUNDING),
        "Low",
        "must be <= Open, High and Close",
        _Remedy("Take the bar from the source, or remove the row.", _SWAPPED),
        beside=("Open", "High", "Close"),
    )
