"""Days and numbers from the cells of a file, and the line that says how they were read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from study.data.arrays import DayArray, PriceArray, fingerprint_of
from study.data.reading.columns import DATE_COLUMN, INDEX_KEYS, column_key, find_columns
from study.data.reading.dates import Dates, are_times, in_timezone, read_dates
from study.data.reading.file_cells import FileCells
from study.errors import DataError, one_line, quoted, require, shortened
from study.number_text import DecimalMark, decimal_mark, read_number, two_readings

_LONGEST_LINE = 1000


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


def understood_line(phrases: Sequence[str]) -> str:
    """Return how a file was read as one line; names and symbols in it are somebody's text."""
    return shortened(one_line("; ".join(phrases)), _LONGEST_LINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportNotes:
    """What an import keeps beside the data, as attributes of the frame."""

    understood: str
    """How the file that was imported was read."""
    accepted: tuple[str, ...]
    """The checks whose refusal was overridden."""
    fingerprint: str
    """Digest of the days and values to which the notes belong."""

    def as_attributes(self) -> dict[str, str]:
        """Return the attributes from which ``import_notes`` reads these notes."""
        return {
            "understood": self.understood,
            "accepted": " ".join(self.accepted),
            "fingerprint": self.fingerprint,
        }


def import_notes(cells: FileCells, days: DayArray, values: PriceArray) -> ImportNotes | None:
    """Return what an import wrote beside exactly these days and values, None if nothing.

    pandas keeps the attributes of a frame that somebody has edited and saved again: what was
    accepted of the old data is not accepted of the new.
    """
    fingerprint = fingerprint_of(days, values)
    understood, accepted = (cells.attributes.get(name) for name in ("understood", "accepted"))
    if cells.attributes.get("fingerprint") != fingerprint or not (
        isinstance(understood, str) and isinstance(accepted, str)
    ):
        return None
    return ImportNotes(
        understood=understood, accepted=tuple(accepted.split()), fingerprint=fingerprint
    )


def require_columns(cells: FileCells, missing: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse a file without a column that is needed."""
    require(
        not missing,
        cells.where,
        f"needs the columns {', '.join(wanted[:-1])} and {wanted[-1]} (any case)",
        got=f"missing={', '.join(missing)}; columns={', '.join(cells.names)}",
        remedy="Add or rename the missing columns.",
        error=DataError,
    )


def date_columns(cells: FileCells) -> tuple[int | None, int | None]:
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


def same_or_refused(cells: FileCells, found: Sequence[int], column: str) -> int:
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


def dates_of(cells: FileCells, date_at: int, time_at: int | None, options: ReadOptions) -> Dates:
    """Return the days of a column, with times of day from another, by the clock that is asked for.

    Raises:
        DataError: the cells can be read in two ways, or none is a date.
    """
    where = _column(cells, date_at)
    times = None if time_at is None else cells.columns[time_at]
    dates = read_dates(cells.columns[date_at], times, where)
    return dates if options.timezone is None else in_timezone(dates, options.timezone, where)


def _column(cells: FileCells, at: int) -> str:
    return f"{cells.where} column {cells.names[at] or DATE_COLUMN}"


def written(dates: Dates) -> str:
    """Say how dates are written, and at what times of day their stamps are if not at midnight."""
    times = [f"{at // 3600:02}:{at % 3600 // 60:02}" for at in np.unique(dates.seconds).tolist()]
    if times in ([], ["00:00"]):
        return dates.form
    return f"{dates.form}, at {times[0]}" + (f" to {times[-1]}" if len(times) > 1 else "")


def in_order(cells: FileCells, dates: Dates) -> tuple[Dates, FileCells, str]:
    """Turn a file round that is newest first; one in no order stays as it is, for the checks.

    Returns:
        Dates and cells in their new order, and what order the file was in.
    """
    known = dates.days[~np.isnat(dates.days)]
    steps = np.diff(known).astype(np.int64)
    rising, falling = int((steps > 0).sum()), int((steps < 0).sum())
    out_of_order = ", some rows out of order" if min(rising, falling) else ""
    if falling <= rising:
        return dates, cells, f"oldest first{out_of_order}"
    turned = replace(
        dates,
        days=dates.days[::-1].copy(),
        seconds=dates.seconds[::-1].copy(),
        offsets=dates.offsets[::-1].copy(),
    )
    backwards = np.arange(cells.n_rows)[::-1]
    return turned, cells.take(backwards), f"newest first, turned round{out_of_order}"


def numbers_of(cells: FileCells, columns: Sequence[int]) -> tuple[PriceArray, tuple[str, ...]]:
    """Return the numbers of columns, shape (n_rows, n_columns), and how they are written.

    NaN stands where a cell is no number. All columns have one decimal mark.

    Raises:
        DataError: they show two marks, or could have either.
    """
    mark = _mark(cells, columns)
    values = np.array(
        [[read_number(cell, mark) for cell in cells.columns[at]] for at in columns],
        dtype=np.float64,
    ).T
    return values, ("decimal comma",) if mark == "," else ()


def _mark(cells: FileCells, columns: Sequence[int]) -> DecimalMark:
    """Return the decimal mark of all number cells together."""
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


def named(
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
