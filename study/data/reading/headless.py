"""Files without a header, whose columns are named by what stands in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.data.reading.columns import BAR_COLUMNS, DATE_COLUMN, SYMBOL
from study.data.reading.dates import are_times, is_date
from study.errors import DataError, quoted
from study.text.number_text import DECIMAL_MARKS, read_number

_LEAN_DAY = re.compile(r"\d{8} \d\d:\d\d")
_LEAN_DIVISOR = 10_000.0
"""Factor of the whole numbers (a hundredth of a cent) in which QuantConnect's LEAN writes prices of
shares."""

_BINANCE_CLOSE = 6
"""Position of the close time in Binance's klines: the open time and a bar stand before it."""

_EPOCH_DIGITS = 10
"""Least digits of an epoch stamp in seconds since 2001; a day like 20240328 has fewer."""

_MOST_SHOWN = 7
_SHARE_OF_ROWS = 0.99
"""Least share of the rows in which High and Low are the extremes; a broken row is for the checks to
name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedColumns:
    """The meaning that the columns of a file without a header were given."""

    names: tuple[str, ...]
    price_divisor: float
    notes: tuple[str, ...]


def name_columns(where: str, rows: Sequence[Sequence[str]]) -> NamedColumns:
    """Name the columns of a file without a header.

    All vendors whose files have none write (a symbol,) a date, (a time of day,) Open, High, Low,
    Close and Volume (MetaTrader 4, LEAN, HistData, Kibot); behind them Kraken has one column more
    and Binance six. That order is taken where High and Low are in fact the highest and the lowest.

    Args:
        where: the file, for messages.
        rows: at least one, all of one length.

    Raises:
        DataError: the columns are others.
    """
    columns = [[row[at] for row in rows] for at in range(len(rows[0]))]
    names = [] if is_date(columns[0][0]) else [SYMBOL]
    names.append(DATE_COLUMN)
    if len(columns) > len(names) and are_times(columns[len(names)]):
        names.append("Time")
    names += BAR_COLUMNS
    first_price = names.index("Open")
    width_known = len(columns) == len(names) or _is_binance(columns) or _is_kraken(columns)
    known = width_known and _are_bars(columns[first_price : first_price + 5])
    if not known:
        raise DataError(
            f"{where}: must name its columns in a header, but got "
            f"{quoted(list(rows[0][:_MOST_SHOWN]))} in the first line. Write Date, Open, High, "
            "Low, Close, Volume above them."
        )
    notes = ["the file has no header"]
    divisor = 1.0
    if _is_lean(columns, first_price):
        divisor = _LEAN_DIVISOR
        notes.append("whole prices of LEAN, divided by 10000")
    names += [f"column {at + 1}" for at in range(len(names), len(columns))]
    return NamedColumns(names=tuple(names), price_divisor=divisor, notes=tuple(notes))


def _is_binance(columns: Sequence[Sequence[str]]) -> bool:
    """Do the epochs of opening and closing stand around a bar?"""
    if len(columns) < _BINANCE_CLOSE + 1:
        return False
    opened, closed = columns[0][0], columns[_BINANCE_CLOSE][0]
    return len(opened) == len(closed) and all(map(_is_epoch, (opened, closed))) and opened < closed


def _is_kraken(columns: Sequence[Sequence[str]]) -> bool:
    """Does the number of trades stand behind an epoch and a bar?"""
    return len(columns) == _BINANCE_CLOSE + 1 and _is_epoch(columns[0][0])


def _is_epoch(cell: str) -> bool:
    return len(cell) >= _EPOCH_DIGITS and cell.isdigit()


def _are_bars(bars: Sequence[Sequence[str]]) -> bool:
    """Are five columns Open, High, Low, Close and a volume (no fifth price) in this order?"""
    for mark in DECIMAL_MARKS:
        values = np.array([[read_number(cell, mark) for cell in column] for column in bars])
        values = values[:, np.isfinite(values).all(axis=0)]
        if not values.shape[1]:
            continue
        high, low, volume = values[1], values[2], values[4]
        ordered = (high >= values[:4].max(axis=0)) & (low <= values[:4].min(axis=0))
        is_price = (low <= volume) & (volume <= high)
        return bool(
            ordered.mean() >= _SHARE_OF_ROWS and (high > low).any() and is_price.mean() < 0.5
        )
    return False


def _is_lean(columns: Sequence[Sequence[str]], first_price: int) -> bool:
    prices = columns[first_price : first_price + 4]
    return (
        first_price == 1
        and all(_LEAN_DAY.fullmatch(cell) for cell in columns[0])
        and all(cell.isdigit() for column in prices for cell in column)
    )
