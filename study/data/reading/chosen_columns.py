"""The columns of a file that are read, and the refusal of a file that lacks or repeats one."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from study.data.reading.columns import DATE_COLUMN, INDEX_KEYS, column_key, find_columns
from study.data.reading.dates import are_times, read_dates
from study.data.reading.file_cells import FileCells
from study.errors import DataError, quoted, require


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
                read_dates(cells.columns[at], None, place_of_dates(cells, at)).days
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


def place_of_dates(cells: FileCells, at: int) -> str:
    """Return file and name of a column of dates, for messages."""
    return f"{cells.where} column {cells.names[at] or DATE_COLUMN}"


def columns_in_words(
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
