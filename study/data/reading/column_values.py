"""The days and the numbers in the columns of a file, oldest first, and how they are written."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from study.data.arrays import PriceArray
from study.data.reading.chosen_columns import place_of_dates
from study.data.reading.dates import Dates, in_timezone, read_dates
from study.data.reading.file_cells import FileCells
from study.data.reading.read_options import ReadOptions
from study.errors import DataError, quoted
from study.text.number_text import DecimalMark, decimal_mark, read_number, two_readings


def dates_of(cells: FileCells, date_at: int, time_at: int | None, options: ReadOptions) -> Dates:
    """Return the days of a column, with times of day from another, by the clock that is asked for.

    Raises:
        DataError: the cells can be read in two ways, or none is a date.
    """
    where = place_of_dates(cells, date_at)
    times = None if time_at is None else cells.columns[time_at]
    dates = read_dates(cells.columns[date_at], times, where)
    return dates if options.timezone is None else in_timezone(dates, options.timezone, where)


def dates_in_words(dates: Dates) -> str:
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
