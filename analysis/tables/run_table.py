"""Tables of runs that anybody has trained: a size or two, a loss and perhaps a group each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.statistics.floats import Floats
from analysis.tables.table_columns import notation, number, position, require_rows, unnamed_columns
from study.errors import StudyError, quoted, require
from study.text.number_text import DecimalMark
from study.text.text_table import TextTable, read_text_table


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTable:
    """The runs of a file, group by group."""

    groups: dict[str | None, tuple[Floats, Floats]]
    """Sizes, shape (n, n_axes), and losses, shape (n,), all positive; None names the only group
    where no column of groups was asked for."""
    left_out: tuple[str, ...]
    """What of the file is in no group (columns without a name, titles, notes), a phrase each."""


def read_runs(path: Path, *, axes: tuple[str, ...], loss: str, group: str | None) -> RunTable:
    """Read a table of runs.

    Args:
        path: of a table of text.
        axes: names of the columns of sizes.
        loss: name of the column of losses.
        group: name of the column that says which runs belong together.

    Raises:
        StudyError: the table breaks a rule; the message has line and column.
    """
    table = read_text_table(path)
    require(
        not table.header[0].startswith(("{", "[{")),
        table.where,
        "must be a CSV file",
        got="JSON",
        remedy="Write the runs as a table, a row each.",
        error=StudyError,
    )
    flags = (*("--n", "--d")[: len(axes)], "--loss")
    columns = {
        flag: position(table, name, flag) for flag, name in zip(flags, (*axes, loss), strict=True)
    }
    require(
        len(set(columns.values())) == len(columns),
        ", ".join(flags),
        "must be different columns",
        got=", ".join(map(quoted, (*axes, loss))),
        remedy="Name each once.",
    )
    require_rows(table)
    mark = notation(table, tuple(columns.values()))
    numbers = np.array(
        [[_positive(table, row, at, mark) for at in columns.values()]
         for row in range(len(table.rows))],
        dtype=np.float64,
    )  # fmt: skip
    return RunTable(
        groups={
            name: (numbers[rows, :-1], numbers[rows, -1])
            for name, rows in _members(table, group).items()
        },
        left_out=(*unnamed_columns(table), *table.skipped),
    )


def _positive(table: TextTable, row: int, at: int, mark: DecimalMark) -> float:
    """Return a number of the table, which must be above 0 as its logarithm is what is fitted."""
    cell = table.rows[row][at]
    value = number(cell, mark)
    if value is None or value <= 0:
        raise StudyError(
            f"{table.where} line {table.lines[row]} column {quoted(table.header[at])}: must be a "
            f"positive number, but got {quoted(cell)}. Leave such rows out, and say which."
        )
    return value


def _members(table: TextTable, group: str | None) -> dict[str | None, list[int]]:
    """Return the rows of each group, in the order of their names."""
    if group is None:
        return {None: list(range(len(table.rows)))}
    at = position(table, group, "--group")
    members: dict[str, list[int]] = {}
    for row, name in enumerate(table.column(at)):
        members.setdefault(name, []).append(row)
    unknown = [table.lines[row] for row in members.get("", [])]
    # They belong to one of the laws or to none, and a law of their own would mix families.
    require(
        not unknown,
        f"{table.where} column {quoted(table.header[at])}",
        "must name the group of every row",
        got=f"{len(unknown)} rows without one, the first in line {min(unknown, default=0)}",
        remedy="Fill them in, or leave those rows out.",
        error=StudyError,
    )
    return dict(sorted(members.items()))
