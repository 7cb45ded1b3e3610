"""Daily bars, and a daily value, as a file holds them; rules are checked elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.data.arrays import DayArray, IndexArray, PriceArray
from study.data.columns import (
    ADJUSTED_CLOSE,
    ADJUSTED_VOLUME,
    INDEX_KEYS,
    column_key,
    find_columns,
    find_names,
)
from study.data.columns import BAR_COLUMNS as BAR_COLUMNS
from study.data.columns import DATE_COLUMN as DATE_COLUMN
from study.data.dates import Dates, are_times, in_timezone, read_dates
from study.data.file_cells import FileCells, cells_of_frame, read_cells
from study.data.instruments import one_instrument
from study.errors import DataError, one_line, quoted, require, shortened
from study.number_text import DecimalMark, decimal_mark, is_missing, read_number, two_readings

UNDERSTOOD = "understood"
"""Attribute of an imported frame: how the file that it came from was read."""

ACCEPTED = "accepted"
"""Attribute of an imported frame: the checks whose refusal was overridden, a word each."""

_PRICES, _CLOSE, _VOLUME = slice(0, 4), 3, 4

_LONGEST_LINE = 1000

_ROUNDING = 1e-6
"""Relative difference of two prices that their vendor means to be equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """What a file leaves open and its reader decides."""

    symbol: str | None = None
    """The instrument of a file that holds several."""
    adjust: bool = False
    """Multiply prices by Adj Close / Close."""
    timezone: str | None = None
    """The zone whose days the bars belong to, such as ``Europe/Berlin``; None takes the day that
    each stamp shows."""


AS_WRITTEN = ReadOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class BarTable:
    """The six columns of a file, parsed cell by cell, with what is needed to name a bad cell."""

    where: str
    """File or source, as messages name it."""
    rows: IndexArray
    """Line of the text file, or row of the table below its header (row 1), of each bar, shape
    (n_bars,)."""
    days: DayArray
    """datetime64[D] of shape (n_bars,), NaT where the cell is no date; a file that is newest first
    is turned round."""
    values: PriceArray
    """Shape (n_bars, 5) in the order of BAR_COLUMNS, NaN where the cell is no number."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTable:
    """A date and a value per row, parsed cell by cell."""

    where: str
    """File, as messages name it."""
    rows: IndexArray
    """Line of the text file, or row of the table below its header (row 1), of each row, shape
    (n_rows,)."""
    row_word: str
    """What a message calls such a row: ``line`` or ``row``."""
    days: DayArray
    """datetime64[D] of shape (n_rows,), NaT where the cell is no date."""
    values: PriceArray
    """Shape (n_rows,), NaN where the cell is no number."""
    is_missing: npt.NDArray[np.bool_]
    """Where the cell says that there is no value; shape (n_rows,)."""
    dates: Sequence[object]
    """The unparsed cells of the dates."""
    cells: Sequence[object]
    """The unparsed cells of the values."""
    column: str
    """Name of the column of values, as the file has it."""
    understood: tuple[str, ...]
    """How the file was read, a phrase each."""
    accepted: tuple[str, ...] = ()
    """Checks whose refusal was overridden when the file was imported."""

    def place(self, at: int) -> str:
        """Name a row for a message."""
        return f"{self.where} {self.row_word} {self.rows[at]}"


def understood_line(phrases: Sequence[str]) -> str:
    """Return how a file was read as one line; names and symbols in it are somebody's text."""
    return shortened(one_line("; ".join(phrases)), _LONGEST_LINE)


def read_table(path: Path, options: ReadOptions = AS_WRITTEN) -> BarTable:
    """Read a text or Parquet file of daily bars in one of the shapes that vendors give them.

    Column names match without regard to case; ``study.data.columns`` lists the accepted ones. Of
    several columns that could be meant, the first in that list is taken (for Volume, the first
    that is not zero throughout); two of the same name must hold the same. Rows without any price
    are left out. ``understood`` says all of that.

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


def read_values(path: Path, names: Sequence[str], options: ReadOptions = AS_WRITTEN) -> ValueTable:
    """Read a text or Parquet file of a daily value; see ``read_table``.

    Args:
        path: of the file.
        names: accepted names of the column of values, the preferred ones first, as
            ``study.data.columns`` writes them.
        options: what the file leaves open; there is nothing to adjust.

    Raises:
        DataError: see ``read_table``.
    """
    cells, symbol = one_instrument(read_cells(path), options.symbol)
    found = find_names(names, cells.names)
    require(
        bool(found),
        cells.where,
        f"needs a column {names[0]}, {names[1]} or Close (any case)",
        got=f"columns={', '.join(cells.names)}",
        remedy="Add or rename it.",
        error=DataError,
    )
    value = _same_or_refused(cells, found, "the value")
    date_at, time_at = _date_columns(cells)
    _require_columns(
        cells, [DATE_COLUMN] if date_at is None else [], (DATE_COLUMN, cells.names[value])
    )
    assert date_at is not None
    dates, cells, order = _in_order(cells, _dates(cells, date_at, time_at, options))
    values, notation = _numbers(cells, [value])
    missing = np.array([is_missing(cell) for cell in cells.columns[value]], dtype=np.bool_)
    named = {DATE_COLUMN: date_at, cells.names[value]: value}
    return ValueTable(
        where=cells.where,
        rows=cells.rows,
        row_word=cells.row_word,
        days=dates.days,
        values=values[:, 0],
        is_missing=missing,
        dates=cells.columns[date_at],
        cells=cells.columns[value],
        column=cells.names[value],
        accepted=_accepted(cells),
        understood=_stored(cells)
        or (
            f"{cells.where}: columns {_named(cells, named, {})}",
            dates.form,
            order,
            *notation,
            *([] if symbol is None else [f"symbol {symbol}"]),
            f"{int((~missing).sum())} values",
            *([f"{int(missing.sum())} days without one"] if missing.any() else []),
            *cells.notes,
        ),
    )


def _bars(cells: FileCells, options: ReadOptions) -> BarTable:
    cells, symbol = one_instrument(cells, options.symbol)
    position, passed_over, time_at = _positions(cells)
    cells, left_out = _without_empty_rows(cells, position)
    dates, cells, order = _in_order(cells, _dates(cells, position[DATE_COLUMN], time_at, options))
    values, notation = _numbers(cells, [position[name] for name in BAR_COLUMNS])
    values[:, _PRICES] /= cells.price_divisor
    _require_volume(cells, values[:, _VOLUME], cells.columns[position["Volume"]])
    values, adjusted = _adjusted(cells, values, options.adjust)
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
        days=dates.days,
        values=values,
        cells={name: cells.columns[index] for name, index in position.items()},
        others=others,
        seconds=dates.seconds,
        zones=dates.zones,
        accepted=_accepted(cells),
        understood=_stored(cells)
        or (
            f"{cells.where}: columns {_named(cells, position, passed_over)}",
            dates.form,
            order,
            *notation,
            adjusted,
            *([] if symbol is None else [f"symbol {symbol}"]),
            f"{cells.n_rows} bars{span}",
            *left_out,
            *cells.notes,
        ),
    )


def _stored(cells: FileCells) -> tuple[str, ...]:
    """Return what an import wrote on the file that it read."""
    stored = cells.attributes.get(UNDERSTOOD)
    return (stored,) if isinstance(stored, str) else ()


def _accepted(cells: FileCells) -> tuple[str, ...]:
    """Return what an import wrote on the file that was accepted."""
    stored = cells.attributes.get(ACCEPTED)
    return tuple(stored.split()) if isinstance(stored, str) else ()


def _positions(cells: FileCells) -> tuple[dict[str, int], dict[str, list[str]], int | None]:
    """Return the position of each of the six columns, what was passed over, and the time's."""
    date_at, time_at = _date_columns(cells)
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
        position[column] = _same_or_refused(cells, found, column)
        passed_over[column] = [cells.names[at] for at in found if at != position[column]]
    wanted = (DATE_COLUMN, *BAR_COLUMNS)
    _require_columns(cells, [name for name in wanted if name not in position], wanted)
    return position, passed_over, time_at


def _require_columns(cells: FileCells, missing: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse a file without a column that is needed."""
    shown = f"missing={', '.join(missing)}; columns={', '.join(cells.names)}"
    if list(missing) == ["Volume"]:
        raise _without_volume(cells, shown)
    require(
        not missing,
        cells.where,
        f"needs the columns {', '.join(wanted[:-1])} and {wanted[-1]} (any case)",
        got=shown,
        remedy="Add or rename the missing columns.",
        error=DataError,
    )


def _date_columns(cells: FileCells) -> tuple[int | None, int | None]:
    """Return the positions of the dates and of the times of day that stand in another column."""
    found = find_columns(DATE_COLUMN, cells.names)
    if not found and cells.names and column_key(cells.names[0]) in INDEX_KEYS:
        found = [0]
    if not found:
        return None, None
    chosen, *rest = found
    for other in rest:
        if column_key(cells.names[other]) == column_key(cells.names[chosen]):
            days, others = (
                read_dates(cells.columns[at], None, _column(cells, at)).days
                for at in (chosen, other)
            )
            require(
                bool(np.array_equal(days, others, equal_nan=True)),
                cells.where,
                f"two columns {cells.names[chosen]} (or index and column) must hold the same days",
                got=_first_difference(cells, chosen, other, days != others),
                remedy="Remove one of them.",
                error=DataError,
            )
    times = [at for at in rest if are_times(cells.columns[at])]
    return chosen, next(iter(times), None)


def _same_or_refused(cells: FileCells, found: Sequence[int], column: str) -> int:
    """Return the first of the columns, having seen that those of the same name hold the same."""
    chosen = found[0]
    for other in found[1:]:
        if column_key(cells.names[other]) == column_key(cells.names[chosen]):
            pairs = zip(cells.columns[chosen], cells.columns[other], strict=True)
            differ = np.array([str(a) != str(b) for a, b in pairs], dtype=np.bool_)
            require(
                not differ.any(),
                cells.where,
                f"column {column} must occur once, or twice with the same cells",
                got=_first_difference(cells, chosen, other, differ),
                remedy="Remove one of them.",
                error=DataError,
            )
    return chosen


def _first_difference(cells: FileCells, one: int, other: int, differ: npt.NDArray[np.bool_]) -> str:
    at = int(np.argmax(differ)) if differ.any() else 0
    shown = ", ".join(
        f"{cells.names[each]}={quoted(cells.columns[each][at])}" for each in (one, other)
    )
    return f"{shown} in {cells.row_word} {cells.rows[at]}"


def _is_blank(column: Sequence[object]) -> bool:
    """Is a column zero or empty throughout?"""
    return all(is_missing(cell) or read_number(cell) == 0 for cell in column)


def _without_empty_rows(
    cells: FileCells, position: Mapping[str, int]
) -> tuple[FileCells, tuple[str, ...]]:
    """Leave out the rows in which no price stands, and say so."""
    prices = [cells.columns[position[name]] for name in BAR_COLUMNS[_PRICES]]
    empty = np.array([all(map(is_missing, row)) for row in zip(*prices, strict=True)], dtype=bool)
    if not empty.any():
        return cells, ()
    at, n_empty = int(np.argmax(empty)), int(empty.sum())
    day = shortened(one_line(str(cells.columns[position[DATE_COLUMN]][at])))
    return cells.take(np.flatnonzero(~empty)), (
        f"{n_empty} {'row' if n_empty == 1 else 'rows'} without prices left out "
        f"(first {day}, {cells.row_word} {cells.rows[at]})",
    )


def _dates(cells: FileCells, date_at: int, time_at: int | None, options: ReadOptions) -> Dates:
    where = _column(cells, date_at)
    times = None if time_at is None else cells.columns[time_at]
    dates = read_dates(cells.columns[date_at], times, where)
    return dates if options.timezone is None else in_timezone(dates, options.timezone, where)


def _column(cells: FileCells, at: int) -> str:
    return f"{cells.where} column {cells.names[at] or DATE_COLUMN}"


def _in_order(cells: FileCells, dates: Dates) -> tuple[Dates, FileCells, str]:
    """Turn a file round that is newest first; one in no order stays as it is, for the checks."""
    known = dates.days[~np.isnat(dates.days)]
    steps = np.diff(known).astype(np.int64)
    if (steps < 0).sum() <= (steps > 0).sum():
        return dates, cells, "oldest first"
    turned = replace(
        dates,
        days=dates.days[::-1].copy(),
        seconds=dates.seconds[::-1].copy(),
        offsets=dates.offsets[::-1].copy(),
    )
    backwards = np.arange(cells.n_rows)[::-1]
    return turned, cells.take(backwards), "newest first, turned round"


def _numbers(cells: FileCells, columns: Sequence[int]) -> tuple[PriceArray, tuple[str, ...]]:
    """Return the numbers of columns, shape (n_rows, n_columns), and how they are written."""
    mark = _mark(cells, columns)
    values = np.array(
        [[read_number(cell, mark) for cell in cells.columns[at]] for at in columns],
        dtype=np.float64,
    ).T
    return values, ("decimal comma",) if mark == "," else ()


def _mark(cells: FileCells, columns: Sequence[int]) -> DecimalMark:
    """Return the decimal mark of all number cells together.

    Raises:
        DataError: they show two, or could have either.
    """
    texts = [cell for at in columns for cell in cells.columns[at] if isinstance(cell, str) and cell]
    try:
        mark = decimal_mark(texts)
    except ValueError as error:
        raise DataError(
            f"{cells.where}: must write all numbers with one decimal mark, but got {error}. Export "
            "the file again in one language."
        ) from error
    if mark is not None:
        return mark
    for text in texts:
        readings = two_readings(text)
        if readings is not None:
            raise DataError(
                f"{cells.where}: must show its decimal mark, but got {quoted(text)}, which is "
                f"{readings[0]:.15g} or {readings[1]:.15g}, and no number that decides. Write "
                "numbers with a decimal point and without thousands separators."
            )
    return "."


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
        f"vwap_20), but got {got}. An index or a pair of currencies has none: take a fund or a "
        "future on it, such as SPY or ES, or a vendor that gives the volume of its members."
    )


def _adjusted(cells: FileCells, values: PriceArray, adjust: bool) -> tuple[PriceArray, str]:
    """Return the bars in adjusted prices if that is asked for, and what their prices are."""
    found = find_columns(ADJUSTED_CLOSE, cells.names)
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
    name = cells.names[found[0]]
    adjusted = _numbers(cells, found[:1])[0][:, 0]
    close = values[:, _CLOSE]
    if np.allclose(adjusted, close, rtol=_ROUNDING, atol=0, equal_nan=True):
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
    values[:, _PRICES] *= (adjusted / close)[:, None]
    values[:, _CLOSE] = adjusted
    volumes = find_columns(ADJUSTED_VOLUME, cells.names)
    if not volumes:
        return values, f"prices adjusted by {name}, Volume as traded"
    values[:, _VOLUME] = _numbers(cells, volumes[:1])[0][:, 0]
    return values, f"prices adjusted by {name}, Volume is {cells.names[volumes[0]]}"


def _named(
    cells: FileCells, position: Mapping[str, int], passed_over: Mapping[str, Sequence[str]]
) -> str:
    """Say which column of the file each of the six is."""
    phrases = []
    for column, at in position.items():
        name = cells.names[at]
        phrase = (
            column if column_key(name) == column_key(column) else f"{column} from {quoted(name)}"
        )
        if passed_over.get(column):
            phrase += f" (not {', '.join(map(quoted, passed_over[column]))})"
        phrases.append(phrase)
    return ", ".join(phrases)
