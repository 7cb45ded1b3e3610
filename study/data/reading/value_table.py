"""A daily value, such as an index, as a file holds it; rules are checked elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from study.data.arrays import DayArray, IndexArray, PriceArray
from study.data.reading.chosen_columns import (
    columns_in_words,
    date_columns,
    require_columns,
    same_or_refused,
)
from study.data.reading.column_values import dates_in_words, dates_of, in_order, numbers_of
from study.data.reading.columns import DATE_COLUMN, find_names
from study.data.reading.file_cells import read_cells
from study.data.reading.import_notes import import_notes
from study.data.reading.instruments import one_instrument
from study.data.reading.read_options import AS_WRITTEN, ReadOptions
from study.errors import DataError, require
from study.text.number_text import is_missing


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTable:
    """A date and a value per row, parsed cell by cell."""

    where: str
    """File, as messages name it."""
    rows: IndexArray
    """Line of the text file, or row of the table below its header (row 1), of each value, shape
    (n_rows,)."""
    row_word: str
    """Word for such a row in a message: ``line`` or ``row``."""
    days: DayArray
    """Days, datetime64[D] of shape (n_rows,), NaT where the cell is no date."""
    values: PriceArray
    """Values, shape (n_rows,), NaN where the cell is no number."""
    is_missing: npt.NDArray[np.bool_]
    """Flags of cells that say that there is no value, shape (n_rows,)."""
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


def read_values(path: Path, names: Sequence[str], options: ReadOptions = AS_WRITTEN) -> ValueTable:
    """Read a text or Parquet file of a daily value; see ``tables.read_table``.

    Args:
        path: of the file.
        names: accepted names of the column of values, the preferred ones first, as
            ``study.data.reading.columns`` writes them.
        options: what the file leaves open; there is nothing to adjust.

    Raises:
        DataError: see ``tables.read_table``.
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
    value = same_or_refused(cells, found, "the value")
    date_at, time_at = date_columns(cells)
    wanted = (DATE_COLUMN, cells.names[value])
    require_columns(cells, [DATE_COLUMN] if date_at is None else [], wanted)
    assert date_at is not None
    dates, cells, order = in_order(cells, dates_of(cells, date_at, time_at, options))
    values, notation = numbers_of(cells, [value])
    missing = np.array([is_missing(cell) for cell in cells.columns[value]], dtype=np.bool_)
    notes = import_notes(cells, dates.days, values[:, 0])
    position = {DATE_COLUMN: date_at, cells.names[value]: value}
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
        accepted=() if notes is None else notes.accepted,
        understood=(notes.understood,)
        if notes is not None
        else (
            f"{cells.where}: columns {columns_in_words(cells, position, {})}",
            dates_in_words(dates),
            order,
            *notation,
            *([] if symbol is None else [f"symbol {symbol}"]),
            f"{int((~missing).sum())} values",
            *([f"{int(missing.sum())} days without one"] if missing.any() else []),
            *cells.notes,
        ),
    )
