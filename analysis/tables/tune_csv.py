"""Trials in a table of results as Ray Tune exports it, by the names of its columns alone."""

from collections.abc import Sequence

from analysis.tables.table_columns import (
    check_once,
    column_names,
    is_unnamed,
    matching,
    notation,
    number,
    position,
    value_or_none,
)
from analysis.tables.trial_rows import TrialRows, parameter
from study.errors import StudyError, quoted, require
from study.text.text_table import TextTable

_CONFIG = "config/"
"""Prefix of a parameter's column."""
_TRIAL_ID, _ITERATION, _TIMESTAMP = "trial_id", "training_iteration", "timestamp"
_OWN = frozenset({
    _TRIAL_ID, _ITERATION, _TIMESTAMP, "date", "time_this_iter_s", "time_total_s", "pid",
    "hostname", "node_ip", "time_since_restore", "iterations_since_restore", "done",
    "should_checkpoint", "checkpoint_dir_name", "experiment_id", "experiment_tag", "logdir",
    "timesteps_total", "timesteps_since_restore", "episodes_total", "warmup_time",
})  # fmt: skip
"""Columns that Ray Tune adds to every result (ray/tune/result.py): none is the value of a trial."""


def is_tune_table(table: TextTable) -> bool:
    """Has it the columns of ``ResultGrid.get_dataframe()``?"""
    return _TRIAL_ID in table.header and any(name.startswith(_CONFIG) for name in table.header)


def tune_rows(table: TextTable, value: str | None, notes: Sequence[str]) -> TrialRows:
    """Return the last result of each trial, in the order in which the trials ended.

    Args:
        table: a row per trial, or one per result.
        value: name of the column of values; None for the only one that can be it.
        notes: on how the table was read.

    Raises:
        StudyError: the table breaks a rule.
    """
    at = _value_column(table, value)
    ids = table.column(position(table, _TRIAL_ID, "the trial of a row"))
    iterations, times = (matching(name, table.header)[:1] for name in (_ITERATION, _TIMESTAMP))
    mark = notation(table, (at, *iterations, *times))

    def told(columns: list[int], row: int) -> float | None:
        return value_or_none(table, row, columns[0], mark) if columns else None

    last: dict[str, int] = {}
    for row, trial in enumerate(ids):
        known = last.get(trial)
        if known is None or (told(iterations, row) or 0) >= (told(iterations, known) or 0):
            last[trial] = row
    ended = {row: told(times, row) for row in last.values()}
    has_times = all(end is not None for end in ended.values())
    order = sorted(last.values(), key=lambda row: ((ended[row] or 0) if has_times else 0, row))
    parameters = [column for column, name in enumerate(table.header) if name.startswith(_CONFIG)]
    check_once(table, parameters)
    rows = []
    for place, row in enumerate(order):
        cells = table.rows[row]
        params = {
            table.header[column].removeprefix(_CONFIG): parameter(cells[column])
            for column in parameters
            if cells[column]
        }
        found = {"number": place, "value": value_or_none(table, row, at, mark), "params": params}
        rows.append((f"{table.where} line {table.lines[row]}", found))
    lengths = [told(iterations, row) or 0 for row in order]
    shorter = sum(length < max(lengths) for length in lengths)
    return TrialRows(
        rows=rows,
        notes=[
            *notes,
            f"values are {quoted(table.header[at])} of each trial's last row; trials are numbered "
            + ("by the timestamp of that row" if has_times else "in the order of those rows"),
            *([f"{shorter} of {len(order)} trials ran fewer iterations than the longest: the table "
               "does not say which were stopped early, and all count as complete"]
              if shorter else []),
        ],
    )  # fmt: skip


def _value_column(table: TextTable, value: str | None) -> int:
    if value is not None or matching("value", table.header):
        return position(table, value or "value", "--value")
    candidates = [
        name
        for column, name in enumerate(table.header)
        if not is_unnamed(name)
        and not name.startswith(_CONFIG)
        and name not in _OWN
        and any(number(cell, ".") is not None for cell in table.column(column))
    ]
    require(
        len(candidates) == 1,
        table.where,
        "--value must name the column by which the search went",
        got=f"none, of {column_names(tuple(candidates))}",
        remedy="Name one of them.",
        error=StudyError,
    )
    return position(table, candidates[0], "--value")
