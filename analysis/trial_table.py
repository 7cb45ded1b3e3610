"""The trials of any search, read from our records, from Optuna's shape, or from a CSV."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from study.errors import StudyError, require
from study.results.convergence import configuration_key
from study.results.records import Metric
from study.results.store import read_cell

TRIALS_FILE = "all_trials.json"

_NOT_PARAMETERS = ("number", "value", "state", "value_se")
_PREFIX = "params_"
"""Of the parameters' columns in a table that Optuna wrote."""
_FORCED = "forced_"
"""Of the attributes in which the study that this one replaces kept what a forced trial trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trial that was run, whatever came of it."""

    number: int
    params: Mapping[str, Any]
    is_complete: bool
    """Did it run to its end, with a finite value?"""
    value: float
    """Of the metric; NaN if there is none."""
    value_se: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTable:
    """The trials of a search, in the order in which they ended."""

    metric: Metric
    order: Literal["end", "number"]
    """By what the trials are ordered."""
    parameters: tuple[str, ...]
    trials: tuple[Trial, ...]


def read_table(path: Path, metric: Metric | None) -> TrialTable:
    """Return the trials of a cell's folder, a JSON file or a CSV file.

    Args:
        path: of it.
        metric: that ``value`` is, or ``auc`` of our own records; None only for these: a cell's
            folder says by what its search went, and the value in a file is the log-loss.

    Raises:
        StudyError: the table breaks a rule.
    """
    if path.is_dir():
        metric = metric or read_cell(path)["metric"]
        path = path / TRIALS_FILE
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    where = str(path)
    _require(bool(rows), where, "must have trials", "none", "Check the file.")
    is_ours = all("trial_id" in row for row in rows)
    _require(
        metric is not None or is_ours,
        "--metric",
        f"must say what the values in {path} are",
        "none",
        "Give auc (larger is better) or log_loss.",
    )
    if is_ours and metric == "auc":
        rows = [{**row, "value": row.get("auc"), "value_se": _auc_se(row)} for row in rows]
    trials = [_trial(where, place, row) for place, row in enumerate(rows, start=1)]
    numbers = [trial.number for trial in trials]
    repeated = next((n for n, count in Counter(numbers).items() if count > 1), None)
    _require(
        repeated is None,
        where,
        "must have each trial once",
        f"number {repeated} again",
        "Leave out all rows of a trial but one.",
    )
    ends = [row.get("ended") for row in rows]
    known_ends = [end for end in ends if isinstance(end, int | float)]
    has_ends = is_ours and len(known_ends) == len(rows)
    keys = zip(known_ends if has_ends else numbers, numbers, strict=True)
    ordered = [trial for _, trial in sorted(zip(keys, trials, strict=True), key=lambda p: p[0])]
    return TrialTable(
        metric=metric or "log_loss",
        order="end" if has_ends else "number",
        parameters=tuple(dict.fromkeys(name for trial in trials for name in trial.params)),
        trials=tuple(ordered),
    )


def _auc_se(row: Mapping[str, Any]) -> float | None:
    """Return the standard error of a record's AUC, which it holds if the search went by it."""
    auc, objective, se = (row.get(name) for name in ("auc", "objective", "objective_se"))
    return se if auc is not None and objective == 1 - auc else None


def _trial(where: str, place: int, row: Mapping[str, Any]) -> Trial:
    """Check one row."""
    where = f"{where} trial {row.get('number', f'in place {place}')}"
    numbers = {}
    for name in ("number", "value", "value_se"):
        given = row.get(name)
        try:
            if isinstance(given, bool):
                raise ValueError(given)
            numbers[name] = math.nan if given is None else float(given)
        except (TypeError, ValueError) as error:
            got = f"{name}={given!r}"
            raise StudyError(
                f"{where}: {name} must be a number, but got {got}. Mend the row."
            ) from error
    number, value, se = numbers["number"], numbers["value"], numbers["value_se"]
    _require(
        number.is_integer(),
        where,
        "number must be a whole number",
        f"number={row.get('number')!r}",
        "Number the trials in the order in which they ended.",
    )
    _require(
        math.isnan(se) or (math.isfinite(se) and se >= 0),
        where,
        "value_se must be a number that is not negative",
        f"value_se={se}",
        "Leave it empty if it is not known.",
    )
    params = _params(where, row)
    state = row.get("state")
    is_missing = state is None or (isinstance(state, float) and math.isnan(state))
    said = is_missing or str(state).upper().removeprefix("TRIALSTATE.") == "COMPLETE"
    is_complete = said and math.isfinite(value)
    # Without parameters two configurations could not be told apart.
    _require(
        not is_complete or bool(configuration_key(params)),
        where,
        "must have parameters",
        "none",
        "Add them: equal configurations count once.",
    )
    return Trial(
        number=int(number),
        params=params,
        is_complete=is_complete,
        value=value,
        value_se=None if math.isnan(se) else se,
    )


def _params(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    given, attributes = row.get("params") or {}, row.get("user_attrs") or {}
    for name, value in (("params", given), ("user_attrs", attributes)):
        _require(
            isinstance(value, Mapping),
            where,
            f"{name} must be an object",
            f"{name}={value!r}",
            "Mend the file.",
        )
    forced = {
        name.removeprefix(_FORCED): value
        for name, value in attributes.items()
        if name.startswith(_FORCED) and name != "forced_extreme"
    }
    return {**given, **forced}


def _json_rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{path}: must be the folder of a cell, a JSON file or a CSV file of trials, "
            f"but got: {error}. Check the path."
        ) from error
    rows = found.get("trials") if isinstance(found, dict) else found
    is_list = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    _require(
        is_list,
        str(path),
        "must be a list of trials, or hold one under 'trials'",
        f"keys {', '.join(found)}" if isinstance(found, dict) else type(found).__name__,
        "See --help.",
    )
    return list(rows or [])


def _csv_rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{path}: must be a CSV file with a header, but got: {error}. Check the path."
        ) from error
    for column in ("number", "value"):
        _require(
            column in table.columns,
            str(path),
            f"must have a column {column!r}",
            ", ".join(map(str, table.columns)),
            "Rename one of them.",
        )
    names = [str(name) for name in table.columns]
    marked = {name: name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)}
    parameters = marked or {name: name for name in names if name not in _NOT_PARAMETERS}
    return [
        {
            **{name: row[name] for name in _NOT_PARAMETERS if name in row},
            "params": {
                short: row[name] for name, short in parameters.items() if not pd.isna(row[name])
            },
        }
        for row in table.to_dict("records")
    ]


def _require(condition: bool, where: str, rule: str, got: str, remedy: str) -> None:
    require(condition, where, rule, got=got, remedy=remedy, error=StudyError)
