"""The trials of searches as a table: which of them hold some conditions, in which order."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import StudyError, quoted, require
from study.fields import is_number
from study.results.records import TrialRecord
from study.results.store import read_cell, read_trials
from study.storage.layout import CELL_FILE

Value = str | int | float | bool | None
"""A value of a trial; None where it has none."""

Row = Mapping[str, Value]

_RENAMED = {"value": "loss", "value_se": "loss_se"}
"""Fields of a record's row that have another name here: the one that people use."""

_LEFT_OUT = frozenset({"params", "faults", "half_values", "seconds", "folder"})
"""Fields of a record's row that are no single value, or repeat the number."""

_CONDITION = re.compile(r"\s*([A-Za-z_]\w*)\s*(!=|<=|>=|==|=|<|>)\s*(.*?)\s*")

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_ORDERS = frozenset({"<", "<=", ">", ">="})

_WORDS: Mapping[str, Value] = {"none": None, "true": True, "false": False}
"""Words of a condition that stand for values which are no text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRows:
    """The ended trials of some searches, a row each."""

    columns: tuple[str, ...]
    rows: Sequence[Row]
    n_cells: int

    def require_column(self, name: str, where: str) -> None:
        """Refuse a name that no column has.

        Raises:
            StudyError: with the names that there are.
        """
        require(
            name in self.columns,
            where,
            f"must be one of {', '.join(self.columns)}",
            got=quoted(name),
            remedy="Check the spelling.",
            error=StudyError,
        )

    def holding(self, conditions: Sequence[str]) -> list[Row]:
        """Return the rows that hold every condition, such as ``d_model=192`` or ``loss<0.6``.

        A value that is missing holds only ``=none``, and every value that is there ``!=none``.

        Raises:
            StudyError: a condition cannot be read, or does not suit its column.
        """
        found = list(self.rows)
        for condition in conditions:
            is_met = self._test(condition)
            found = [row for row in found if is_met(row)]
        return found

    def _test(self, condition: str) -> Callable[[Row], bool]:
        where = f"--where {quoted(condition)}"
        match = _CONDITION.fullmatch(condition)
        if match is None or not match[3]:
            raise StudyError(
                f"{where}: must be COLUMN=VALUE, with =, !=, <, <=, > or >=, but got "
                f"{quoted(condition)}. Write for example --where 'loss<0.6'."
            )
        name, sign, text = match.groups()
        self.require_column(name, where)
        value = _read(text, [row[name] for row in self.rows], sign, where)
        compare = _OPERATORS[sign]
        if value is None:
            return lambda row: compare(row[name], None)
        return lambda row: row[name] is not None and compare(row[name], value)


def _read(text: str, there: Sequence[Value], sign: str, where: str) -> Value:
    """Return what is compared with the values of a column, of their kind.

    Raises:
        StudyError: it is of another kind.
    """
    known = [value for value in there if value is not None]
    word = _WORDS.get(text.casefold(), text)
    if word is None:
        require(
            sign not in _ORDERS,
            where,
            "none is less or more than nothing",
            got=f"{sign} none",
            remedy="Write =none or !=none.",
            error=StudyError,
        )
        return None
    if known and all(isinstance(value, bool) for value in known):
        kind = "true or false"
        is_right = isinstance(word, bool) and sign not in _ORDERS
        value: Value = word
    elif known and all(is_number(value) for value in known):
        kind = "a number, or none"
        value = _number(text)
        is_right = value is not None
    else:
        kind = "text, which = and != can compare"
        value, is_right = text, sign not in _ORDERS
    require(
        is_right,
        where,
        f"the column holds {kind}",
        got=f"{sign} {quoted(text)}; it has {_examples(known)}",
        remedy="Compare it with a value of its kind.",
        error=StudyError,
    )
    return value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if is_number(value) else None


def _examples(values: Sequence[Value]) -> str:
    distinct = list(dict.fromkeys(values))
    return ", ".join(map(str, distinct[:3])) + (", ..." if len(distinct) > 3 else "") or "no value"


def in_order(rows: Sequence[Row], column: str, *, descending: bool) -> list[Row]:
    """Return the rows by the values of a column; those without one stand last, in both orders."""
    there = [row for row in rows if row[column] is not None]
    texts = any(isinstance(row[column], str) for row in there)

    def key(row: Row) -> Any:
        return str(row[column]) if texts else row[column]

    return [
        *sorted(there, key=key, reverse=descending),
        *(row for row in rows if row[column] is None),
    ]


def read_trial_rows(folder: Path, study: str | None) -> TrialRows:
    """Read the ended trials of a search, or of all searches in a results folder.

    Args:
        folder: folder of a search, or the results folder.
        study: name of the study whose searches are read; None reads all.

    Raises:
        StudyError: there is no such search, or its records cannot be read.
    """
    require(
        folder.is_dir(),
        "FOLDER",
        "must be the folder of a search, or a results folder",
        got=quoted(str(folder)),
        remedy="Give a folder that study.tune made, as ray_results/phase6a_2M_h3_threshold_1pct.",
        error=StudyError,
    )
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [(path, read_cell(path)) for path in candidates if (path / CELL_FILE).is_file()]
    names = sorted({str(cell.get("study")) for _, cell in found})
    chosen = [each for each in found if study is None or each[1].get("study") == study]
    require(
        bool(chosen),
        "FOLDER" if study is None else "--study",
        "must hold a search" if study is None else "must be a study that has been searched",
        got=quoted(str(folder))
        if study is None
        else f"{quoted(study)}; there are {', '.join(names) or 'none'}",
        remedy="Run study.tune or study.sweep first.",
        error=StudyError,
    )
    rows = [_row(path.name, cell, trial) for path, cell in chosen for trial in read_trials(path)]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return TrialRows(
        columns=columns,
        rows=[{name: row.get(name) for name in columns} for row in rows],
        n_cells=len(chosen),
    )


def _row(name: str, cell: Mapping[str, Any], trial: TrialRecord) -> dict[str, Value]:
    own = {_RENAMED.get(key, key): value for key, value in trial.to_json().items()
           if key not in _LEFT_OUT}  # fmt: skip
    params = {key: value for key, value in trial.params.items() if key not in own}
    return {
        "cell": name, "study": cell.get("study"), "horizon": cell.get("horizon"),
        "search_number": cell.get("search_number", 1),
        **own, "state": trial.state, "seconds": trial.duration_seconds,
        **{key: value for key, value in params.items() if _is_single(value)},
    }  # fmt: skip


def _is_single(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
