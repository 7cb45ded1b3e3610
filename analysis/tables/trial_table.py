"""The trials of any search: of our records, of Optuna's or Ray Tune's, or of a table."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from analysis.tables.trial_csv import read_trial_csv
from analysis.tables.trial_rows import PARAMETERS, TrialRows, flat_parts, objective_index
from study.errors import StudyError, cause, quoted, require
from study.fields import is_number
from study.results.convergence import configuration_key, is_placed
from study.results.records import BEYOND, SMALLER_IS_BETTER, Metric
from study.results.store import read_cell
from study.storage.documents import parse_json
from study.storage.layout import CELL_FILE, TRIALS_FILE
from study.text.short_forms import counted

_FORCED = "forced_"
"""Prefix of the attributes in which the study that this one replaces kept what a forced trial
trained."""

_SQLITE_MAGIC = b"SQLite format 3\0"
_JOURNAL_KEY = "op_code"
"""Key that every line of an Optuna journal has."""
_HEAD_BYTES = 4096
"""Bytes at the head of a file by which its kind is recognised; the first line of a journal is
shorter."""
_TABLES = (".csv", ".tsv", ".txt", ".gz")

_RANKING_SCORES = ("rank_ic", "ic", "sharpe")
"""Metrics of panels that are scores and no losses."""

_ANY_LOSS = (0.0, math.inf, "be >= 0")
_VALUES: Mapping[str, tuple[float, float, str]] = {
    "auc": (0.0, 1.0, "lie in [0, 1]"),
    "rank_ic": (-1.0, 1.0, "lie in [-1, 1]"),
    "ic": (-1.0, 1.0, "lie in [-1, 1]"),
    "sharpe": (-math.inf, math.inf, "be a number"),
}
"""Least and greatest value of a metric, and how that is said; the others are losses."""

_ENDED = frozenset({"COMPLETE", "FINISHED", "TERMINATED"})
"""Words by which Optuna, MLflow and W&B, and Ray Tune say that a trial ran to its end."""

_OTHER_STATES = frozenset(
    {
        "PRUNED", "FAIL", "FAILED", "RUNNING", "WAITING", "CRASHED", "KILLED", "ERROR", "PENDING",
        "PAUSED", "SCHEDULED",
    }
)  # fmt: skip
"""Words by which they say that it did not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trial that was run, whatever came of it."""

    number: int
    params: Mapping[str, Any]
    is_complete: bool
    """Did it run to its end, with a finite value?"""
    value: float
    """Value of the metric; NaN if there is none."""
    value_se: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTable:
    """The trials of a search, in the order in which they ended."""

    metric: Metric | None
    """Metric of the values; None if the file does not say, but in which direction they are
    better."""
    larger_is_better: bool
    order: Literal["end", "number"]
    """What orders the trials: their ends, or their numbers."""
    parameters: tuple[str, ...]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]
    """Remarks on how the file was read."""


def read_table(
    path: Path, metric: Metric | None, *, value: str | None = None, study: str | None = None
) -> TrialTable:
    """Return the trials of a cell's folder, or of a file of any kind that is known.

    Args:
        path: of it.
        metric: that ``value`` is, or ``auc`` or a score of a ranking of our own records; None only
            for these (a cell's folder says by what its search went, and the value in a file is what
            that minimised, or the log-loss) and for an Optuna storage, whose study knows its
            direction.
        value: name of the column or objective that is the value.
        study: name of one of several in an Optuna storage.

    Raises:
        StudyError: the table breaks a rule.
    """
    if os.path.isdir(path):  # Path.is_dir raises where a name is too long.
        metric = metric or _searched_metric(path)
        path = path / TRIALS_FILE
    read = _without_placed(_read(path, value, study))
    where, rows = str(path), [row for _, row in read.rows]
    _require(bool(rows), where, "must have trials", "none", "Check the file.")
    is_ours = all("trial_id" in row for row in rows)
    if is_ours and metric is None:
        metric = "loss" if any(row.get("rank_ic") is not None for row in rows) else "log_loss"
    larger_is_better = read.larger_is_better if metric is None else metric not in SMALLER_IS_BETTER
    if larger_is_better is None:
        raise StudyError(
            f"--metric: must say what the values in {path} are, but got none. Give auc (larger is "
            "better) or log_loss."
        )
    notes = list(read.notes)
    if read.larger_is_better not in (None, larger_is_better):
        notes.append(
            f"the study {'maximized' if read.larger_is_better else 'minimized'} its value, and "
            f"--metric {metric} says otherwise: the flag is taken"
        )
    if is_ours:
        rows = _with_metric(rows, metric)
    trials = [_trial(place, row) for (place, _), row in zip(read.rows, rows, strict=True)]
    for (place, _), trial in zip(read.rows, trials, strict=True):
        _require_metric(place, trial, metric)
    numbers = [trial.number for trial in trials]
    _require_once(where, numbers)
    ends = [row.get("ended") for row in rows]
    known_ends = [end for end in ends if is_number(end)]
    has_ends = len(known_ends) == len(rows)
    keys = zip(known_ends if has_ends else numbers, numbers, strict=True)
    ordered = [trial for _, trial in sorted(zip(keys, trials, strict=True), key=lambda p: p[0])]
    return TrialTable(
        metric=metric,
        larger_is_better=larger_is_better,
        order="end" if has_ends else "number",
        parameters=tuple(dict.fromkeys(name for trial in trials for name in trial.params)),
        trials=tuple(ordered),
        notes=tuple(notes),
    )


def _without_placed(read: TrialRows) -> TrialRows:
    """Return the rows without those of our records that were put near a best trial.

    No rule of convergence counts them.
    """
    sources = [_own_source(row) for _, row in read.rows]
    n_beyond = sources.count(BEYOND)
    n_placed = sum(map(is_placed, sources))
    if not n_placed:
        return read
    told = {
        "beyond an edge of the file": n_beyond,
        "with the settings of other cells' best ones": n_placed - n_beyond,
    }
    notes = [f"not counted: {counted(n, 'trial')} {what}" for what, n in told.items() if n]
    rows = [pair for pair, each in zip(read.rows, sources, strict=True) if not is_placed(each)]
    return replace(read, rows=rows, notes=[*read.notes, *notes])


def _own_source(row: Mapping[str, Any]) -> object:
    """Return the source of one of our records, or of their export to Optuna; None of others."""
    for fields in (row, row.get("user_attrs")):
        if isinstance(fields, Mapping) and "trial_id" in fields:
            return fields.get("source")
    return None


def _require_once(where: str, numbers: Sequence[int]) -> None:
    repeated = next((n for n, count in Counter(numbers).items() if count > 1), None)
    _require(
        repeated is None,
        where,
        "must have each trial once",
        f"number {repeated} again",
        "Leave out all rows of a trial but one.",
    )


def _with_metric(
    rows: Sequence[Mapping[str, Any]], metric: Metric | None
) -> list[Mapping[str, Any]]:
    """Return rows of our own records with a metric as their value, where they have another one."""
    if metric == "auc":
        return [{**row, "value": row.get("auc"), "value_se": _auc_se(row)} for row in rows]
    if metric in _RANKING_SCORES:
        # The value of a panel's record is what its search minimises: 1 less this score.
        error = f"{metric}_se"
        return [{**row, "value": row.get(metric), "value_se": row.get(error)} for row in rows]
    return list(rows)


def _require_metric(where: str, trial: Trial, metric: Metric | None) -> None:
    """Refuse a value that the metric cannot have: of another metric, or with its sign turned."""
    if not trial.is_complete or metric is None:
        return
    least, most, rule = _VALUES.get(metric, _ANY_LOSS)
    _require(
        least <= trial.value <= most,
        where,
        f"{'an' if metric in ('auc', 'ic') else 'a'} {metric} must {rule}",
        f"value={trial.value:g}",
        "Check --metric; divide percents by 100, and turn the sign of scikit-learn's neg_log_loss.",
    )


def _searched_metric(folder: Path) -> Metric:
    found: Any = read_cell(folder).get("metric")
    if found not in get_args(Metric):
        raise StudyError(
            f"{folder / CELL_FILE}: metric must be one of {', '.join(get_args(Metric))}, but got "
            f"{quoted(found)}. Give --metric, or mend the file with --resume."
        )
    metric: Metric = found
    return metric


def _read(path: Path, value: str | None, study: str | None) -> TrialRows:
    """Return the rows of a file, whose kind its first bytes show."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise StudyError(
            f"{path}: must be the folder of a cell or a file of trials, but got {cause(error)}. "
            "Check the path."
        ) from error
    is_sqlite = head.startswith(_SQLITE_MAGIC)
    if is_sqlite or _is_journal(head):
        # Optuna takes long to import, and only its own files need it.
        from analysis.tables.optuna_storage import read_storage

        return read_storage(path, is_sqlite=is_sqlite, study=study, value=value)
    _require(
        study is None,
        "--study",
        "must come with the storage of Optuna in which that study is",
        str(path),
        "Leave it out.",
    )
    is_table = path.suffix.lower() in _TABLES or head.lstrip()[:1] not in (b"{", b"[")
    if is_table and path.suffix.lower() != ".json":
        return read_trial_csv(path, value)
    return _json_rows(path, value)


def _is_journal(head: bytes) -> bool:
    try:
        first = parse_json(head.partition(b"\n")[0])
    except StudyError:
        return False
    return isinstance(first, dict) and _JOURNAL_KEY in first


def _auc_se(row: Mapping[str, Any]) -> float | None:
    """Return the standard error of a record's AUC, which it holds if the search went by it."""
    auc, objective, se = (row.get(name) for name in ("auc", "objective", "objective_se"))
    return se if auc is not None and objective == 1 - auc else None


def _trial(where: str, row: Mapping[str, Any]) -> Trial:
    """Check one row."""
    numbers = {}
    for name in ("number", "value", "value_se"):
        given = row.get(name)
        try:
            if isinstance(given, bool):
                raise ValueError(given)
            numbers[name] = math.nan if given is None else float(given)
        except (TypeError, ValueError, OverflowError) as error:
            got = f"{name}={quoted(given)}"
            raise StudyError(
                f"{where}: {name} must be a number, but got {got}. Mend the row."
            ) from error
    number, value, se = numbers["number"], numbers["value"], numbers["value_se"]
    _require(
        number.is_integer(),
        where,
        "number must be a whole number",
        f"number={quoted(row.get('number'))}",
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
    word = "COMPLETE" if is_missing else str(state).upper().removeprefix("TRIALSTATE.")
    _require(
        word in _ENDED | _OTHER_STATES,
        where,
        "state must be a known one",
        f"state={quoted(state)}",
        f"Write COMPLETE for a trial that ran to its end; known are {', '.join(sorted(_ENDED))} "
        f"for that, and {', '.join(sorted(_OTHER_STATES))}.",
    )
    is_complete = word in _ENDED and math.isfinite(value)
    # Without parameters two configurations could not be distinguished.
    _require(
        not is_complete or _has_parameters(where, params),
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


def _has_parameters(where: str, params: Mapping[str, Any]) -> bool:
    try:
        return configuration_key(params) != configuration_key({})
    except (RecursionError, TypeError) as error:
        raise StudyError(
            f"{where}: parameters must be plain values, but got {cause(error)}. Mend the row."
        ) from error


def _params(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    given, attributes = row.get("params") or {}, row.get("user_attrs") or {}
    for name, value in (("params", given), ("user_attrs", attributes)):
        _require(
            isinstance(value, Mapping),
            where,
            f"{name} must be an object",
            f"{name}={quoted(value)}",
            "Mend the file.",
        )
    forced = {
        name.removeprefix(_FORCED): value
        for name, value in attributes.items()
        if name.startswith(_FORCED) and name != "forced_extreme"
    }
    return {**given, **forced}


def _json_rows(path: Path, value: str | None) -> TrialRows:
    try:
        found = parse_json(path.read_bytes())
    except (OSError, StudyError) as error:
        raise StudyError(
            f"{path}: must be the folder of a cell, or trials in JSON, in a CSV file or in a "
            f"storage of Optuna, but got {cause(error)}. Check the path."
        ) from error
    rows = found.get("trials") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        got = (
            f"keys {', '.join(map(quoted, found))}"
            if isinstance(found, dict)
            else (f"a {type(rows).__name__} of something else")
        )
        raise StudyError(
            f"{path}: must be a list of trials, or hold one under 'trials', but got {got}. "
            "See --help."
        )
    return TrialRows(
        rows=[
            (
                f"{path} trial "
                + (quoted(row["number"]) if "number" in row else f"in place {place}"),
                _with_value(path, _nested(row), value),
            )
            for place, row in enumerate(rows, start=1)
        ]
    )


def _nested(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with its parameters in an object, which Optuna's tables have as columns."""
    is_flat = "params" not in row and any(name.startswith(PARAMETERS) for name in row)
    return {**row, **flat_parts(row)} if is_flat else row


def _with_value(path: Path, row: Mapping[str, Any], wanted: str | None) -> Mapping[str, Any]:
    """Return a row with the value that the flag names, among several where it has them."""
    values = row.get("values")
    if isinstance(values, list) and values and (wanted or "value" not in row):
        names = (
            [f"values_{place}" for place in range(len(values))] if len(values) > 1 else ["value"]
        )
        return {**row, "value": values[objective_index(str(path), names, wanted)]}
    if wanted is None:
        return row
    _require(
        wanted in row,
        str(path),
        f"must have {quoted(wanted)} (--value) in every trial",
        ", ".join(map(quoted, row)),
        "Name one of them.",
    )
    return {**row, "value": row[wanted]}


def _require(condition: bool, where: str, rule: str, got: str, remedy: str) -> None:
    require(condition, where, rule, got=got, remedy=remedy, error=StudyError)
