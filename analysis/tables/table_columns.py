"""Columns of a table of text, by the names that a user gives, and the numbers in them."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from study.errors import StudyError, quoted, require
from study.text.number_text import DecimalMark, decimal_mark, is_missing, read_number, two_readings
from study.text.text_table import DELIMITERS, TextTable

_UNNAMED = re.compile(r"Unnamed: \d+(_level_\d+)?")
"""Names that pandas gives a column without one, which is the index of the table that was
written."""

_ENDLESS = {
    sign + word: float(sign + word) for sign in ("", "+", "-") for word in ("inf", "infinity")
}

_MOST_NAMES = 30
"""Columns that a message lists: a table of a tracker has hundreds."""


def is_unnamed(name: str) -> bool:
    """Is this the name of a column that has none?"""
    return not name or _UNNAMED.fullmatch(name) is not None


def matching(name: str, names: tuple[str, ...]) -> list[int]:
    """Return where ``name`` stands among ``names``: exactly, or else but for case and space."""
    name = name.strip()
    exact = [at for at, each in enumerate(names) if each == name]
    return exact or [at for at, each in enumerate(names) if each.casefold() == name.casefold()]


def position(table: TextTable, name: str, role: str) -> int:
    """Return the position of a column.

    Args:
        table: in which it must be.
        name: of the column, once.
        role: the flag that names it, or what it holds.

    Raises:
        StudyError: there is none, or more than one.
    """
    found = matching(name, table.header)
    if len(found) != 1:
        got = f"{len(found)} columns of that name" if found else column_names(table.header)
        remedy = "Name one of them." if role.startswith("--") else "Rename one of them, or add it."
        raise StudyError(
            f"{table.where}: must have {'one' if found else 'a'} column {quoted(name)} ({role}), "
            f"but got {got}. {'Rename all but one.' if found else remedy}"
        )
    return found[0]


def require_rows(table: TextTable) -> None:
    """Refuse a table without a row.

    Raises:
        StudyError: it has none.
    """
    require(
        bool(table.rows),
        table.where,
        "must have rows",
        got="a header alone",
        remedy="Check the file.",
        error=StudyError,
    )


def column_names(names: tuple[str, ...]) -> str:
    """Return the named columns as a message lists them."""
    named = [quoted(name) for name in names if not is_unnamed(name)]
    more = f" and {len(named) - _MOST_NAMES} more" if len(named) > _MOST_NAMES else ""
    return ", ".join(named[:_MOST_NAMES]) + more or "no named column"


def unnamed_columns(table: TextTable) -> list[str]:
    """Return a phrase for each column without a name, which nobody can ask for."""
    return [
        f"column {at} has no name" + (f" ({name})" if name else "")
        for at, name in enumerate(table.header, start=1)
        if is_unnamed(name)
    ]


def notation(table: TextTable, positions: tuple[int, ...]) -> DecimalMark:
    """Return the mark before the fraction in the columns of numbers, which show it together.

    Args:
        table: read from a file that is written in one notation.
        positions: of the columns of numbers.

    Raises:
        StudyError: cells disagree, or every comma could be of either kind.
    """
    cells = [cell for at in positions for cell in table.column(at)]
    named = f"{table.where} columns {column_names(tuple(table.header[at] for at in positions))}"
    try:
        mark = decimal_mark(cells)
    except ValueError as error:
        raise StudyError(
            f"{named}: numbers must be written in one notation, but got {error}. Write a point "
            "before the fraction."
        ) from error
    if mark is not None:
        return mark
    unclear = next((cell for cell in cells if two_readings(cell) is not None), None)
    # Where commas separate cells, a program writes a point before the fraction.
    require(
        unclear is None or table.delimiter == ",",
        named,
        f"commas must be before a fraction or between thousands, and in a table of "
        f"{DELIMITERS[table.delimiter]} it must show which",
        got=f"{quoted(unclear)} and its like",
        remedy="Write the numbers with a point, without separators of thousands.",
        error=StudyError,
    )
    return "."


def number(cell: str, mark: DecimalMark) -> float | None:
    """Return the finite number that a cell holds; None if it holds none."""
    value = read_number(cell, mark)
    return value if math.isfinite(value) else None


def check_once(table: TextTable, positions: Sequence[int]) -> None:
    """Raise unless the columns at these positions have different names."""
    counts = Counter(table.header[at] for at in positions)
    twice = next((name for name, count in counts.items() if count > 1), None)
    require(
        twice is None,
        table.where,
        "must name each parameter once",
        got=f"{quoted(twice)} again",
        remedy="Rename one of them.",
        error=StudyError,
    )


def value_or_none(table: TextTable, row: int, at: int, mark: DecimalMark) -> float | None:
    """Return the number in a cell, which may be infinite; None if it says that there is none.

    Raises:
        StudyError: it holds something else.
    """
    cell = table.rows[row][at]
    if is_missing(cell):
        return None
    word = cell.casefold()
    found = _ENDLESS[word] if word in _ENDLESS else number(cell, mark)
    if found is None:
        raise StudyError(
            f"{table.where} line {table.lines[row]} column {quoted(table.header[at])}: must be a "
            f"number, but got {quoted(cell)}. Mend the row."
        )
    return found
