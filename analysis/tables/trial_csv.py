"""Trials in a table of text: Optuna's export, Ray Tune's, or anybody's with such columns."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.tables.table_columns import (
    check_once,
    column_names,
    is_unnamed,
    matching,
    notation,
    number,
    position,
    unnamed_columns,
    value_or_none,
)
from analysis.tables.trial_rows import PARAMETERS, TrialRows, flat_parts, parameter
from analysis.tables.tune_csv import is_tune_table, tune_rows
from study.errors import StudyError
from study.text.text_table import TextTable, read_text_table

_OWN = ("number", "value", "state", "value_se")
_BOOKKEEPING = ("datetime_start", "datetime_complete", "duration")
_NESTED = ("params", "values", "value", "user_attrs", "system_attrs", "intermediate_values")
"""Parts of a trial that have parts themselves, in a header of two levels."""
_MARKS = ("user_attrs_", "system_attrs_", "intermediate_values_", "values_", "value_")
"""Prefixes of columns that are no parameters in a table that Optuna wrote."""


def read_trial_csv(path: Path, value: str | None) -> TrialRows:
    """Read trials from a table of text.

    Args:
        path: of it.
        value: name of the column of values; None for the one that is obvious.

    Raises:
        StudyError: the table breaks a rule; the message has line and column.
    """
    table = _flattened(read_text_table(path))
    left_out = [*unnamed_columns(table), *table.skipped]
    notes = [f"left out: {'; '.join(left_out)}"] if left_out else []
    if not matching("number", table.header) and is_tune_table(table):
        return tune_rows(table, value, notes)
    at = {"number": position(table, "number", "the place of a trial")}
    at["value"] = _value_column(table, value)
    for name in ("value_se", "state"):
        if matching(name, table.header) and table.header[at["value"]] != name:
            at[name] = position(table, name, name)
    mark = notation(table, tuple(at[name] for name in at if name != "state"))
    parts = _parts(table, set(at.values()))
    ends = matching("datetime_complete", table.header)
    rows = []
    for place, (line, cells) in enumerate(zip(table.lines, table.rows, strict=True)):
        row: dict[str, Any] = {
            name: value_or_none(table, place, column, mark)
            for name, column in at.items()
            if name != "state"
        }
        if "state" in at:
            row["state"] = cells[at["state"]] or None
        row |= flat_parts(
            {name: parameter(cells[column]) for name, column in parts.items() if cells[column]}
        )
        rows.append((f"{table.where} line {line}", row | _end(cells, ends)))
    return TrialRows(rows=rows, notes=notes)


def _flattened(table: TextTable) -> TextTable:
    """Return a table whose header is one line, where Optuna wrote one of two levels."""
    second = table.rows[0] if table.rows else ()
    named = [
        (above, below)
        for above, below in zip(table.header, second, strict=False)
        if not is_unnamed(below)
    ]
    # Names, all of them below a part of a trial; below ``value`` alone a number is no name.
    is_level = all(above in _NESTED for above, _ in named) and any(
        above != "value" or number(below, ".") is None for above, below in named
    )
    if not is_level or not matching("number", table.header):
        return table
    names = tuple(
        name if is_unnamed(below) else f"{name}_{below}"
        for name, below in zip(table.header, second, strict=True)
    )
    return replace(table, header=names, rows=table.rows[1:], lines=table.lines[1:])


def _value_column(table: TextTable, value: str | None) -> int:
    """Return the position of the values: the column named by the flag, or the obvious one."""
    if value is not None:
        # Optuna writes an objective named loss as values_loss.
        is_short = not matching(value, table.header) and f"values_{value}" in table.header
        return position(table, f"values_{value}" if is_short else value, "--value")
    if matching("value", table.header):
        return position(table, "value", "the values, or --value COLUMN")
    several = [
        name
        for name in table.header
        if name.startswith(("values_", "value_")) and name != "value_se"
    ]
    if len(several) == 1:
        return position(table, several[0], "--value")
    raise StudyError(
        f"{table.where}: must have a column 'value', or --value must name it, but got "
        f"{column_names(tuple(several) or table.header)}. Name one of them with --value."
    )


def _parts(table: TextTable, own: set[int]) -> dict[str, int]:
    """Return the columns of parameters and attributes, all marked as Optuna marks them."""
    named = {place: name for place, name in enumerate(table.header) if not is_unnamed(name)}
    attributes = [place for place, name in named.items() if name.startswith("user_attrs_")]
    marked = [place for place, name in named.items() if name.startswith(PARAMETERS)]
    plain = [
        place
        for place, name in named.items()
        if place not in own and name not in (*_OWN, *_BOOKKEEPING) and not name.startswith(_MARKS)
    ]
    check_once(table, [*(marked or plain), *attributes])
    return {
        **{table.header[place]: place for place in (*marked, *attributes)},
        **({} if marked else {PARAMETERS + table.header[place]: place for place in plain}),
    }


def _end(cells: Sequence[str], places: Sequence[int]) -> dict[str, float]:
    """Return when a trial ended, if Optuna wrote it: the same for all time zones."""
    try:
        ended = datetime.fromisoformat(cells[places[0]])
    except (IndexError, ValueError):
        return {}
    return {"ended": (ended if ended.tzinfo else ended.replace(tzinfo=UTC)).timestamp()}
