"""Daily bars as a file holds them: cells are read here, rules are checked elsewhere."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from study.data.arrays import DayArray, IndexArray, PriceArray
from study.errors import DataError, require

BAR_COLUMNS = ("Open", "High", "Low", "Close", "Volume")
DATE_COLUMN = "Date"
CSV_SUFFIXES = (".csv",)
PARQUET_SUFFIXES = (".parquet", ".pq")

_DATE_NAMES = ("date", "timestamp")
_NOT_A_DAY = np.datetime64("NaT", "D")


@dataclass(frozen=True, kw_only=True, slots=True)
class BarTable:
    """The six columns of a file, parsed cell by cell, with what is needed to name a bad cell."""

    where: str
    """File or source, as messages name it."""
    rows: IndexArray
    """Row of each bar in the file, shape (n_bars,); the header is row 1."""
    days: DayArray
    """datetime64[D] of shape (n_bars,), NaT where the cell is no ISO date."""
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


def read_table(path: Path) -> BarTable:
    """Read a CSV or Parquet file of daily bars.

    Column names match without regard to case; the date is a column ``date`` or ``timestamp``, or
    the index of a Parquet file; other columns, such as ``Adj Close``, are ignored.

    Raises:
        DataError: the file cannot be read, or a column is missing or occurs twice.
    """
    suffix = path.suffix.lower()
    require(
        suffix in CSV_SUFFIXES + PARQUET_SUFFIXES,
        str(path),
        "prices are read from .csv, .parquet or .pq",
        got=f"suffix={path.suffix!r}",
        remedy="Convert the file or correct its name.",
        error=DataError,
    )
    return _read_csv(path) if suffix in CSV_SUFFIXES else _read_parquet(path)


def table_from_frame(frame: pd.DataFrame, where: str) -> BarTable:
    """Take the bars of a frame whose date is its index or a column; see ``read_table``."""
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.rename_axis(DATE_COLUMN).reset_index()
    position = _match_columns([str(name) for name in frame.columns], where)
    cells = {name: frame.iloc[:, at].tolist() for name, at in position.items()}
    others = {
        str(name): frame.iloc[:, at].tolist()
        for at, name in enumerate(frame.columns)
        if at not in position.values()
    }
    return _parse(where, np.arange(2, len(frame) + 2), cells, others)


def _read_csv(path: Path) -> BarTable:
    where = path.name
    records: list[list[str]] = []
    rows: list[int] = []
    try:
        # The byte order mark that spreadsheets write would otherwise hide the first column.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            position = _match_columns(header, where)
            for record in reader:
                if not record:
                    continue
                require(
                    len(record) == len(header),
                    f"{where} row {reader.line_num}",
                    f"must have {len(header)} cells like the header",
                    got=f"cells={len(record)}",
                    remedy="Correct the row; numbers take no thousands separator.",
                    error=DataError,
                )
                records.append(record)
                rows.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{where}: must be comma-separated text in UTF-8, but got {error}. Save it as CSV."
        ) from error
    cells = {name: [record[at] for record in records] for name, at in position.items()}
    others = {
        name: [record[at] for record in records]
        for at, name in enumerate(header)
        if at not in position.values()
    }
    return _parse(where, np.array(rows, dtype=np.int64), cells, others)


def _read_parquet(path: Path) -> BarTable:
    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path.name}: must be a Parquet file, but got {error}. Write it again."
        ) from error
    return table_from_frame(frame, path.name)


def _match_columns(header: Sequence[str], where: str) -> dict[str, int]:
    """Return the position of the date and of each bar column."""
    names = [name.strip().lower() for name in header]
    position: dict[str, int] = {}
    missing: list[str] = []
    for column in (DATE_COLUMN, *BAR_COLUMNS):
        accepted = _DATE_NAMES if column == DATE_COLUMN else (column.lower(),)
        found = [at for at, name in enumerate(names) if name in accepted]
        require(
            len(found) <= 1,
            where,
            f"column {column} must occur once",
            got=f"columns={[header[at] for at in found]}",
            remedy="Remove one of them.",
            error=DataError,
        )
        if found:
            position[column] = found[0]
        else:
            missing.append(column)
    require(
        not missing,
        where,
        "needs the columns Date, Open, High, Low, Close and Volume (any case)",
        got=f"missing={', '.join(missing)}; columns={', '.join(header)}",
        remedy="Add or rename the missing columns.",
        error=DataError,
    )
    return position


def _parse(
    where: str,
    rows: IndexArray,
    cells: Mapping[str, Sequence[object]],
    others: Mapping[str, Sequence[object]],
) -> BarTable:
    days = np.array([parse_day(cell) for cell in cells[DATE_COLUMN]], dtype="datetime64[D]")
    values = np.array(
        [[parse_number(cell) for cell in cells[column]] for column in BAR_COLUMNS], dtype=np.float64
    ).T
    return BarTable(
        where=where,
        rows=rows,
        days=days,
        values=values,
        cells=cells,
        others=others,
        seconds=np.zeros(len(days), dtype=np.int64),
        zones=frozenset(),
        understood=(),
    )


def parse_day(cell: object) -> np.datetime64:
    """Return the calendar day of a cell as its own clock shows it, NaT if it is no ISO date.

    A time zone is dropped and not converted: midnight in Tokyo is still that trading day.
    """
    if isinstance(cell, str):
        try:
            cell = datetime.fromisoformat(cell.strip())
        except ValueError:
            return _NOT_A_DAY
    if isinstance(cell, date) and not pd.isna(cell):
        return np.datetime64(f"{cell.year:04}-{cell.month:02}-{cell.day:02}", "D")
    return _NOT_A_DAY


def parse_number(cell: object) -> float:
    """Return the number of a cell, NaN if it is none. Python's 1_000 is no number in a file."""
    if isinstance(cell, str) and "_" in cell:
        return float("nan")
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
