"""The choice of one instrument in a file that may hold several."""

import shlex
from dataclasses import replace

import numpy as np

from study.data.reading.columns import SYMBOL, column_key, find_columns
from study.data.reading.file_cells import FileCells
from study.errors import DataError, one_line, quoted, shortened

_MOST_SHOWN = 10
_LEAST_ROWS_A_NAME = 2
"""Least rows per value of a column that names instruments: one with another value in almost every
row numbers the rows."""

_PLAIN_NAME = "name"
"""Column that names the instrument only where no other does: companies change their names."""


def one_instrument(cells: FileCells, symbol: str | None) -> tuple[FileCells, str | None]:
    """Return the cells of one instrument and its symbol, None if the file names none.

    Args:
        cells: with a column of symbols, a second header of symbols, or neither.
        symbol: which instrument; None takes the only one.

    Raises:
        DataError: there are several and none was chosen, or not the chosen one.
    """
    if cells.symbols is not None:
        found = list(dict.fromkeys(filter(None, cells.symbols)))
        chosen = _choose(cells.where, "header", found, symbol)
        kept = [at for at, name in enumerate(cells.symbols) if name in ("", chosen)]
        return (
            replace(
                cells,
                names=tuple(cells.names[at] for at in kept),
                columns=tuple(cells.columns[at] for at in kept),
                symbols=None,
            ),
            chosen,
        )
    named: dict[str, list[str]] = {}
    positions = find_columns(SYMBOL, cells.names)
    others = [at for at in positions if column_key(cells.names[at]) != _PLAIN_NAME]
    for at in others or positions:
        named.setdefault(cells.names[at], [str(cell) for cell in cells.columns[at]])
    if symbol is not None:
        column = next((name for name, each in named.items() if symbol in each), None)
        if column is None:
            _choose(cells.where, *_several(named), symbol)
        else:
            rows = np.flatnonzero(np.array(named[column]) == symbol)
            cells = cells.take(rows)
            named = {name: [each[at] for at in rows] for name, each in named.items()}
    _choose(cells.where, *_several(named), None)
    if symbol is None:
        symbol = next((each[0] for each in named.values() if each and len(set(each)) == 1), None)
    return cells, symbol or None


def _several(named: dict[str, list[str]]) -> tuple[str, list[str]]:
    """Return the first column that names several instruments, else the first of all, and them."""
    distinct = {name: list(dict.fromkeys(each)) for name, each in named.items()}
    distinct = {
        name: each
        for name, each in distinct.items()
        if len(each) * _LEAST_ROWS_A_NAME <= len(named[name])
    }
    several = [name for name, each in distinct.items() if len(each) > 1]
    column = next(iter([*several, *distinct]), "")
    return f"column {column}", distinct.get(column, [])


def _choose(where: str, place: str, found: list[str], symbol: str | None) -> str | None:
    """Return the one instrument that is asked for or the only one."""
    shown = ", ".join(map(quoted, found[:_MOST_SHOWN])) + (
        " ..." if len(found) > _MOST_SHOWN else ""
    )
    if symbol is not None and symbol not in found:
        raise DataError(
            f"{where}: must hold the instrument of --symbol, but got symbol={quoted(symbol)} and "
            + (f"{len(found)} in the {place}: {shown}" if found else "no column of symbols")
            + ". Choose one of the file, or leave --symbol out."
        )
    if symbol is None and len(found) > 1:
        example = shlex.quote(shortened(one_line(next(filter(None, found)))))
        raise DataError(
            f"{where}: must hold one instrument, but got {len(found)} in the {place}: {shown}. "
            f"Import the one you mean: python -m study.data import FILE --symbol {example} --name "
            "NAME; or remove the column if it names something else."
        )
    return symbol if symbol is not None else next(iter(found), None)
