"""The cells of a file by column, whether it is text or Parquet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from study.data.arrays import IndexArray
from study.data.reading.columns import BAR_COLUMNS, DATE_COLUMN, find_columns
from study.data.reading.dates import is_date
from study.data.reading.headless import name_columns
from study.data.reading.parquet_file import index_columns, read_frame
from study.errors import DataError, quoted, require
from study.text.number_text import DECIMAL_MARKS, is_missing, read_number
from study.text.text_table import TextTable, read_text_table

TEXT_SUFFIXES = (".csv", ".txt", ".tsv")
"""Suffixes of delimited text; each may be followed by ``.gz``."""
PARQUET_SUFFIXES = (".parquet", ".pq")

_GZIP = ".gz"
_N_PRICES = 4
_SYMBOL_LEVELS = ("ticker", "tickers", "symbol", "symbols")
"""Words that stand in front of the instruments in a header of two levels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCells:
    """The columns of a file, and what is known of them besides the cells."""

    where: str
    """The file, as messages name it."""
    names: tuple[str, ...]
    """Names of the columns, as the file has them."""
    columns: tuple[Sequence[object], ...]
    """The cells of each column, all of one length."""
    symbols: tuple[str, ...] | None = None
    """The instrument of each column, empty for a date; None where no second header names it."""
    rows: IndexArray
    """Line or row of the file, as ``row_word`` says, on which each row of cells begins."""
    row_word: str
    notes: tuple[str, ...] = ()
    """Remarks on what was left out or taken for granted, a phrase each."""
    price_divisor: float = 1.0
    """Factor by which the file's prices are larger than those in quote currency."""
    attributes: Mapping[object, object] = field(default_factory=dict)
    """Attributes that an import wrote beside the cells."""

    @property
    def n_rows(self) -> int:
        """Number of rows below the header."""
        return len(self.rows)

    def place(self, at: int) -> str:
        """Name a row for a message."""
        return f"{self.where} {self.row_word} {self.rows[at]}"

    def take(self, rows: IndexArray) -> "FileCells":
        """Return some of the rows, in a given order."""
        chosen = rows.tolist()
        return replace(
            self,
            columns=tuple([column[at] for at in chosen] for column in self.columns),
            rows=self.rows[rows],
        )


def is_table_file(path: Path) -> bool:
    """Has a path the suffix of a file that can be read?"""
    return _suffix(path) in TEXT_SUFFIXES + PARQUET_SUFFIXES


def plain_name(path: Path) -> str:
    """Return a file's name without its suffixes: that of ``spy.csv.gz`` is ``spy``."""
    path = path.with_suffix("") if path.suffix.lower() == _GZIP else path
    return path.stem


def read_cells(path: Path) -> FileCells:
    """Read a file of delimited text or Parquet.

    Raises:
        DataError: it cannot be read.
    """
    suffix = _suffix(path)
    require(
        suffix in TEXT_SUFFIXES + PARQUET_SUFFIXES,
        path.name,
        "must be a file .csv, .txt, .tsv (or one of these .gz), .parquet or .pq",
        got=f"suffix={quoted(path.suffix)}",
        remedy="Save it as CSV, or correct its name.",
        error=DataError,
    )
    if suffix in TEXT_SUFFIXES:
        return _cells_of_text(read_text_table(path, DataError))
    return cells_of_frame(read_frame(path), path.name)


def cells_of_frame(frame: pd.DataFrame, where: str) -> FileCells:
    """Take the cells of a frame; what its index holds becomes columns in front of the others."""
    names: list[str] = []
    columns: list[Sequence[object]] = []
    if not isinstance(frame.index, pd.RangeIndex):
        names, columns = index_columns(frame.index)
    n_index = len(names)
    columns += [frame.iloc[:, at].tolist() for at in range(frame.shape[1])]
    symbols: tuple[str, ...] | None = None
    if frame.columns.nlevels == 1:
        names += [str(name) for name in frame.columns]
    else:
        levels = [
            [*[""] * n_index, *map(str, frame.columns.get_level_values(level))]
            for level in range(frame.columns.nlevels)
        ]
        of_fields, symbols = _split_levels(levels)
        names += of_fields[n_index:]
    return FileCells(
        where=where,
        names=tuple(names),
        columns=tuple(columns),
        symbols=symbols,
        rows=np.arange(2, len(frame) + 2, dtype=np.int64),
        row_word="row",
        attributes=frame.attrs,
    )


def _suffix(path: Path) -> str:
    if path.suffix.lower() == _GZIP:
        inner = path.with_suffix("").suffix.lower()
        return inner if inner in TEXT_SUFFIXES else _GZIP
    return path.suffix.lower()


def _cells_of_text(table: TextTable) -> FileCells:
    header, rows, lines = table.header, list(table.rows), list(table.lines)
    notes = list(table.skipped)
    names: tuple[str, ...] = header
    symbols: tuple[str, ...] | None = None
    price_divisor = 1.0
    if _is_data(header):
        rows.insert(0, header)
        lines.insert(0, table.header_line)
        named = name_columns(table.where, rows)
        names, price_divisor = named.names, named.price_divisor
        notes += named.notes
    elif rows and _is_second_header(header, rows[0]):
        fields, symbols = _split_levels([list(header), list(rows[0])])
        del rows[0], lines[0]
        # The third header row of pandas names the index and nothing else.
        fields[0] = DATE_COLUMN
        if rows and rows[0][0] and not any(rows[0][1:]) and not is_date(rows[0][0]):
            del rows[0], lines[0]
        names = tuple(fields)
    return FileCells(
        where=table.where,
        names=names,
        columns=tuple([row[at] for row in rows] for at in range(len(names))),
        symbols=symbols,
        rows=np.array(lines, dtype=np.int64),
        row_word="line",
        notes=tuple(notes),
        price_divisor=price_divisor,
    )


def _is_data(header: Sequence[str]) -> bool:
    """Is the first line a row, so that the file has no header?"""
    dates = any(is_date(cell) for cell in header[:2])
    return dates and sum(map(_is_number, header)) >= _N_PRICES


def _is_second_header(header: Sequence[str], row: Sequence[str]) -> bool:
    """Do two lines name columns and instruments, as pandas writes columns of two levels?"""
    if not any(map(_n_bar_names, (header, row))) or is_date(row[0]):
        return False
    if row[0].lower() in _SYMBOL_LEVELS:  # a ticker may be a number
        return len(row) > 1 and all(row[1:])
    return len(row) > 1 and all(
        cell and not _is_number(cell) and not is_missing(cell) for cell in row[1:]
    )


def _n_bar_names(names: Sequence[str]) -> int:
    """Count the different columns of bars that names could mean; a ticker may be V or C."""
    return sum(bool(find_columns(column, names)) for column in BAR_COLUMNS)


def _is_number(cell: str) -> bool:
    return any(np.isfinite(read_number(cell, mark)) for mark in DECIMAL_MARKS)


def _split_levels(levels: Sequence[list[str]]) -> tuple[list[str], tuple[str, ...]]:
    """Return the names and the instruments of columns with several levels of header."""
    at = max(range(len(levels)), key=lambda level: _n_bar_names(levels[level]))
    others = [level for index, level in enumerate(levels) if index != at]
    symbols = [" ".join(filter(None, parts)) for parts in zip(*others, strict=True)]
    # What stands above the dates names the level ("Ticker"), not an instrument.
    return list(levels[at]), ("", *symbols[1:])
