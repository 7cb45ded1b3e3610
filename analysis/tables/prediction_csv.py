"""Probabilities that anybody's models gave to days, in a table of text: date, p, model, seed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.statistics.floats import Floats
from analysis.tables.table_columns import (
    matching,
    notation,
    number,
    position,
    require_rows,
    unnamed_columns,
)
from study.errors import StudyError, quoted, require
from study.fields import is_whole
from study.text.number_text import DecimalMark, is_missing
from study.text.text_table import TextTable, read_text_table

_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})([ T]00:00(:00(\.0+)?)?(Z|[+-]00:00)?)?")
"""A day, with the midnight that some programs write behind it."""

Seed = int | None
"""Seed of a model's run; None where the table names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The probabilities of one run of a model."""

    dates: np.ndarray
    """Days, datetime64[D], ascending, each once, shape (n_days,)."""
    p: Floats
    """Probabilities from 0 to 1, shape (n_days,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionTable:
    """The probabilities of a file, model by model."""

    where: str
    """The file, as messages name it."""
    models: Mapping[str, Mapping[Seed, Answers]]
    left_out: tuple[str, ...]
    """What of the file is no answer (columns without a name, titles, notes), a phrase each."""


def read_prediction_csv(path: Path) -> PredictionTable:
    """Read a table of probabilities.

    The columns ``date`` and ``p`` must be there. Without a column ``model`` all rows are of one
    model, which has the name of the file; without a column ``seed`` each model has one run.

    Args:
        path: of a table of text.

    Raises:
        StudyError: the table breaks a rule; the message has line and column.
    """
    table = read_text_table(path)
    at = {
        "date": position(table, "date", "the day on which the answer was given"),
        "p": position(table, "p", "the probability of a positive label"),
    }
    for name in ("model", "seed"):
        if matching(name, table.header):
            at[name] = position(table, name, name)
    require_rows(table)
    mark = notation(table, (at["p"],))
    found: dict[str, dict[Seed, dict[np.datetime64, float]]] = {}
    lines: dict[tuple[str, Seed, np.datetime64], int] = {}
    for row, line in enumerate(table.lines):
        model = path.stem if "model" not in at else _model(table, row, at["model"])
        seed = None if "seed" not in at else _seed(table, row, at["seed"])
        day = _day(table, row, at["date"])
        first = lines.setdefault((model, seed, day), line)
        require(
            first == line,
            f"{table.where} line {line}",
            "date, model and seed must be given together once",
            got=f"{day} of {quoted(model)}{'' if seed is None else f', seed {seed},'} again, "
            f"as in line {first}",
            remedy="Remove one of the rows.",
            error=StudyError,
        )
        p = _probability(table, row, at["p"], mark)
        found.setdefault(model, {}).setdefault(seed, {})[day] = p
    return PredictionTable(
        where=table.where,
        models={
            model: {seed: _answers(own) for seed, own in seeds.items()}
            for model, seeds in found.items()
        },
        left_out=(*unnamed_columns(table), *table.skipped),
    )


def _answers(by_day: Mapping[np.datetime64, float]) -> Answers:
    dates = np.array(list(by_day), dtype="datetime64[D]")
    order = np.argsort(dates)
    return Answers(dates=dates[order], p=np.array(list(by_day.values()), dtype=np.float64)[order])


def _refused(table: TextTable, row: int, at: int, rule: str, remedy: str) -> StudyError:
    """Return the error of a cell that breaks a rule."""
    return StudyError(
        f"{table.where} line {table.lines[row]} column {quoted(table.header[at])}: {rule}, but got "
        f"{quoted(table.rows[row][at])}. {remedy}"
    )


def _day(table: TextTable, row: int, at: int) -> np.datetime64:
    match = _DAY.fullmatch(table.rows[row][at])
    if match is not None:
        try:
            return np.datetime64(match[1], "D")
        except ValueError:
            # The calendar has no such day.
            pass
    raise _refused(
        table, row, at, "must be a day as 2013-01-31",
        "Write year, month and day in this order: 02/03/2013 could be two days.",
    )  # fmt: skip


def _probability(table: TextTable, row: int, at: int, mark: DecimalMark) -> float:
    cell = table.rows[row][at]
    value = None if is_missing(cell) else number(cell, mark)
    if value is None or not 0 <= value <= 1:
        raise _refused(
            table, row, at, "must be a probability from 0 to 1",
            "Leave out the rows of days without an answer; divide percent by 100; a logit x is "
            "1 / (1 + exp(-x)).",
        )  # fmt: skip
    return value


def _model(table: TextTable, row: int, at: int) -> str:
    name = table.rows[row][at]
    if is_missing(name):
        raise _refused(
            table, row, at, "must name the model of every row",
            "Fill it in, or leave the column out if all rows are of one model.",
        )  # fmt: skip
    return name


def _seed(table: TextTable, row: int, at: int) -> Seed:
    cell = table.rows[row][at]
    if is_missing(cell):
        return None
    value = number(cell, ".")
    if value is None or value % 1 or not is_whole(int(value)):
        raise _refused(
            table, row, at, "must be a whole number or empty",
            "Number the runs of a model 0, 1, 2.",
        )  # fmt: skip
    return int(value)
