"""Marks in cells of prices beside their digits: 32nds, currencies."""

import re
import unicodedata
from collections.abc import Sequence

from study.data.reading.file_cells import FileCells
from study.errors import DataError, quoted
from study.text.number_text import is_missing

_IN_32NDS = re.compile(r"[+-]?\d{1,3}['\u2019]\d{3}")
"""``120'015`` of CME is 120 and 1.5 thirty-seconds; Swiss prices have a fraction behind such a
mark."""


def require_plain_prices(cells: FileCells, columns: Sequence[int]) -> None:
    """Refuse prices in 32nds, and prices in two currencies.

    Args:
        cells: in the order of the file.
        columns: positions of the prices.

    Raises:
        DataError: prices are of either kind.
    """
    for at in columns:
        _require_no_32nds(cells, at)
    _require_one_currency(cells, columns)


def _require_no_32nds(cells: FileCells, at: int) -> None:
    present = [cell for cell in cells.columns[at] if not is_missing(cell)]
    if present and all(
        isinstance(cell, str) and _IN_32NDS.fullmatch(cell.strip()) for cell in present
    ):
        raise DataError(
            f"{cells.where} column {cells.names[at]}: prices must be decimal numbers, but got "
            f"{quoted(present[0])} and the like in every cell, which looks like 32nds of a bond "
            "(120'015 is 120 + 1.5/32 = 120.046875). Convert them to decimals; if the mark "
            "separates thousands, remove it."
        )


def _require_one_currency(cells: FileCells, columns: Sequence[int]) -> None:
    first: dict[str, int] = {}
    for row in range(cells.n_rows):
        for at in columns:
            cell = cells.columns[at][row]
            for sign in cell if isinstance(cell, str) else "":
                if unicodedata.category(sign) == "Sc":
                    first.setdefault(sign, row)
    if len(first) > 1:
        one, other = list(first)[:2]
        raise DataError(
            f"{cells.place(first[other])}: prices must be in one currency, but got "
            f"{quoted(other)} beside {quoted(one)} ({cells.row_word} "
            f"{cells.rows[first[one]]}). Convert the prices to one currency, or keep one part of "
            "the file."
        )
