"""Daily bars as a file holds them: cells are read here, rules are checked elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from study.data.arrays import DayArray, IndexArray, PriceArray
from study.data.reading.chosen_columns import (
    columns_in_words,
    date_columns,
    require_columns,
    same_or_refused,
)
from study.data.reading.column_values import dates_in_words, dates_of, in_order, numbers_of
from study.data.reading.columns import (
    ADJUSTED_CLOSE,
    ADJUSTED_VOLUME,
    CLOSE,
    NEEDS_VOLUME,
    PRICES,
    VOLUME,
    find_columns,
    like_volume,
)
from study.data.reading.columns import BAR_COLUMNS as BAR_COLUMNS
from study.data.reading.columns import DATE_COLUMN as DATE_COLUMN
from study.data.reading.file_cells import FileCells, cells_of_frame, read_cells
from study.data.reading.import_notes import import_notes
from study.data.reading.instruments import one_instrument
from study.data.reading.price_cells import require_plain_prices
from study.data.reading.read_options import AS_WRITTEN, ReadOptions
from study.errors import DataError, one_line, quoted, require, shortened
from study.text.number_text import is_missing, read_number

ROUNDING = 1e-6
"""Relative difference of two prices that their vendor means to be equal: adjusted ones are rounded,
so that a High may miss the Close by a last digit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BarTable:
    """The six columns of a file, parsed cell by cell, with what is needed to name a bad cell."""

    where: str
    """File or source, as messages name it."""
    rows: IndexArray
    """Line of the text file, or row of the table below its header (row 1), of each bar, shape
    (n_bars,)."""
    row_word: str
    """Word for such a row in a message: ``line`` or ``row``."""
    days: DayArray
    """Days, datetime64[D] of shape (n_bars,), NaT where the cell is no date; a file that is newest
    first is turned round."""
    values: PriceArray
    """Bars, shape (n_bars, 5) in the order of BAR_COLUMNS, NaN where the cell is no number."""
    cells: Mapping[str, Sequence[object]]
    """The unparsed cells of the six columns, for messages."""
    others: Mapping[str, Sequence[object]]
    """The unparsed cells of the file's other columns, by the name that the file gives them."""
    seconds: IndexArray
    """Time of day of each stamp by its own clock, seconds after midnight, shape (n_bars,); 0 where
    the file holds days."""
    zones: frozenset[str]
    """The time zones that the stamps name, as ``+00:00``; empty if they name none."""
    understood: tuple[str, ...]
    """How the file was read (columns, order, format of dates and numbers, adjusted or not), a
    phrase each, for one line that shows a wrong reading."""
    accepted: tuple[str, ...] = ()
    """Checks whose refusal was overridden when the file was imported."""

    def place(self, at: int) -> str:
        """Name a row for a message."""
        return f"{self.where} {self.row_word} {self.rows[at]}"

    def dated_place(self, at: int) -> str:
        """Name a row for a message, with its day."""
        return f"{self.place(at)} ({'no date' if np.isnat(self.days[at]) else self.days[at]})"


def read_table(path: Path, options: ReadOptions = AS_WRITTEN) -> BarTable:
    """Read a text or Parquet file of daily bars in one of the shapes that vendors give them.

    Column names match without regard to case; ``study.data.reading.columns`` lists the accepted
    ones. Of several columns that could be meant, the first in that list is taken (for Volume, the
    first that is not zero throughout); two of the same name must hold the same. Rows without any
    price are left out. ``understood`` says all of that.

    Args:
        path: of the file.
        options: what the file leaves open.

    Raises:
        DataError: the file cannot be read, a column is missing, or what a column or a number means
            is not certain.
    """
    return _bars(read_cells(path), options)


def table_from_frame(frame: pd.DataFrame, where: str) -> BarTable:
    """Take the bars of a frame whose date is its index or a column; see ``read_table``."""
    return _bars(cells_of_frame(frame, where), AS_WRITTEN)


def _bars(cells: FileCells, options: ReadOptions) -> BarTable:
    cells, symbol = one_instrument(cells, options.symbol)
    position, passed_over, time_at = _positions(cells)
    cells, left_out = _without_empty_rows(cells, position)
    require_plain_prices(cells, [position[name] for name in BAR_COLUMNS[PRICES]])
    dates, cells, order = in_order(cells, dates_of(cells, position[DATE_COLUMN], time_at, options))
    bars = [position[name] for name in BAR_COLUMNS]
    beside = [*_adjusted_close(cells), *_adjusted_volume(cells)]
    numbers, notation = numbers_of(cells, [*bars, *beside])
    values = np.ascontiguousarray(numbers[:, : len(bars)])
    values[:, PRICES] /= cells.price_divisor
    _require_volume(cells, values[:, VOLUME], cells.columns[position["Volume"]])
    adjusted = dict(zip(beside, numbers.T[len(bars) :], strict=True))
    values, prices = _adjusted(cells, values, adjusted, options.adjust)
    notes = import_notes(cells, dates.days, values)
    used = {*position.values(), time_at}
    others: dict[str, Sequence[object]] = {}
    for index, name in enumerate(cells.names):
        if index not in used:
            others.setdefault(name, cells.columns[index])
    days = dates.days[~np.isnat(dates.days)]
    span = f", {days[0]} to {days[-1]}" if len(days) else ""
    return BarTable(
        where=cells.where,
        rows=cells.rows,
        row_word=cells.row_word,
        days=dates.days,
        values=values,
        cells={name: cells.columns[index] for name, index in position.items()},
        others=others,
        seconds=dates.seconds,
        zones=dates.zones,
        accepted=() if notes is None else notes.accepted,
        understood=(notes.understood,)
        if notes is not None
        else (
            f"{cells.where}: columns {columns_in_words(cells, position, passed_over)}",
            dates_in_words(dates),
            order,
            *notation,
            prices,
            *([] if symbol is None else [f"symbol {symbol}"]),
            f"{cells.n_rows} bars{span}",
            *left_out,
            *cells.notes,
        ),
    )


def _positions(cells: FileCells) -> tuple[dict[str, int], dict[str, list[str]], int | None]:
    """Return the position of each of the six columns, what was passed over, and the time's."""
    date_at, time_at = date_columns(cells)
    position: dict[str, int] = {}
    passed_over: dict[str, list[str]] = {}
    if date_at is not None:
        position[DATE_COLUMN] = date_at
        found = find_columns(DATE_COLUMN, cells.names)
        passed_over[DATE_COLUMN] = [cells.names[at] for at in found if at not in (date_at, time_at)]
    for column in BAR_COLUMNS:
        found = find_columns(column, cells.names)
        if not found:
            continue
        if column == "Volume":
            found.sort(key=lambda at: _is_blank(cells.columns[at]))
        position[column] = same_or_refused(cells, found, column)
        passed_over[column] = [cells.names[at] for at in found if at != position[column]]
    wanted = (DATE_COLUMN, *BAR_COLUMNS)
    missing = [name for name in wanted if name not in position]
    if missing == ["Volume"]:
        others = like_volume(cells.names)
        require(
            not others,
            cells.where,
            "needs a column Volume, in plain numbers",
            got=", ".join(map(quoted, others)) + ", and it is not certain what that counts",
            remedy="If it is the volume of each day, multiply it by its unit and name it Volume. "
            + NEEDS_VOLUME,
            error=DataError,
        )
        raise _without_volume(cells, f"missing=Volume; columns={', '.join(cells.names)}")
    require_columns(cells, missing, wanted)
    return position, passed_over, time_at


def _is_blank(column: Sequence[object]) -> bool:
    """Is a column zero or empty throughout?"""
    return all(is_missing(cell) or read_number(cell) == 0 for cell in column)


def _without_empty_rows(
    cells: FileCells, position: Mapping[str, int]
) -> tuple[FileCells, tuple[str, ...]]:
    """Leave out the rows in which no price stands, and say so."""
    prices = [cells.columns[position[name]] for name in BAR_COLUMNS[PRICES]]
    empty = np.array([all(map(is_missing, row)) for row in zip(*prices, strict=True)], dtype=bool)
    if not empty.any():
        return cells, ()
    at, n_empty = int(np.argmax(empty)), int(empty.sum())
    day = shortened(one_line(str(cells.columns[position[DATE_COLUMN]][at])))
    return cells.take(np.flatnonzero(~empty)), (
        f"{n_empty} {'row' if n_empty == 1 else 'rows'} without prices left out "
        f"(first {day}, {cells.row_word} {cells.rows[at]})",
    )


def _require_volume(cells: FileCells, volume: PriceArray, texts: Sequence[object]) -> None:
    """Refuse a file of an instrument that has no volume; a single day without one is no matter."""
    absent = [
        is_missing(cell) or value in (0, -1) for cell, value in zip(texts, volume, strict=True)
    ]
    if len(absent) > 1 and all(absent):
        raise _without_volume(cells, f"Volume={quoted(texts[0])} and none in {len(absent)} rows")


def _without_volume(cells: FileCells, got: str) -> DataError:
    return DataError(
        f"{cells.where}: needs a volume, of which every tier makes features (Volume, obv, adosc, "
        f"vwap_20), but got {got}. {NEEDS_VOLUME}"
    )


def _adjusted_close(cells: FileCells) -> list[int]:
    """Return the position of an adjusted close, none if the file has none."""
    return find_columns(ADJUSTED_CLOSE, cells.names)[:1]


def _adjusted_volume(cells: FileCells) -> list[int]:
    return find_columns(ADJUSTED_VOLUME, cells.names)[:1]


def _adjusted(
    cells: FileCells, values: PriceArray, columns: Mapping[int, PriceArray], adjust: bool
) -> tuple[PriceArray, str]:
    """Return the bars in adjusted prices if that is asked for, and what their prices are.

    Args:
        cells: of the file.
        values: bars as traded, shape (n_bars, 5).
        columns: the numbers of the adjusted columns, by their position.
        adjust: is it asked for?
    """
    found = _adjusted_close(cells)
    if not found:
        require(
            not adjust,
            cells.where,
            "--adjust needs a column Adj Close",
            got=f"columns={', '.join(cells.names)}",
            remedy="Leave --adjust out, or give a file with it.",
            error=DataError,
        )
        return values, "prices as written"
    name, adjusted, close = cells.names[found[0]], columns[found[0]], values[:, CLOSE]
    if np.allclose(adjusted, close, rtol=ROUNDING, atol=0, equal_nan=True):
        return values, f"{name} = Close"
    if not adjust:
        return values, f"prices as traded; {name} ignored, --adjust uses it"
    bad = ~(np.isfinite(adjusted) & (adjusted > 0) & (close > 0))
    at = int(np.argmax(bad)) if bad.any() else 0
    require(
        not bad.any(),
        f"{cells.place(at)} column {name}",
        "must be a number > 0 to adjust by, beside a Close > 0",
        got=f"{name}={quoted(cells.columns[found[0]][at])}, Close={close[at]:g}",
        remedy="Correct the row, or leave --adjust out.",
        error=DataError,
    )
    values = values.copy()
    values[:, PRICES] *= (adjusted / close)[:, None]
    values[:, CLOSE] = adjusted
    volumes = _adjusted_volume(cells)
    if not volumes:
        return values, f"prices adjusted by {name}, Volume as traded"
    values[:, VOLUME] = columns[volumes[0]]
    return values, f"prices adjusted by {name}, Volume is {cells.names[volumes[0]]}"
