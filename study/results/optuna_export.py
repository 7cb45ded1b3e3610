"""Writes a search as a study of Optuna: a file that Optuna and its dashboard open.

The study is a copy for other programs. A search is resumed from its journal and never reads one.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from study.errors import StudyError, quoted, require
from study.results.epoch_report import EpochReport
from study.results.journal import Event, Journal
from study.results.records import Metric, TrialRecord, objective
from study.results.store import read_cell, read_trials
from study.storage.files import sync_folder, temporary_path

_SQLITE_ENDS = (".db", ".sqlite", ".sqlite3")
"""Endings of a file's name for which an SQLite database is written instead of Optuna's journal."""

_OBJECTIVES: Mapping[str, str] = {
    "log_loss": "validation log-loss",
    "auc": "1 - validation AUC",
    "rank_ic": "1 - validation RankIC",
    "ic": "1 - validation IC",
    "sharpe": "1 - validation Sharpe ratio",
    "loss": "validation squared error of the target",
}
"""Name of the value that a search minimises, by its metric."""

_KEPT = (
    "trial_id", "source", "group", "folder", "seed", "reason", "message", "param_count", "d_ff",
    "best_epoch", "epochs_trained", "value", "objective_se", "difference", "difference_se", "skill",
    "auc", "brier", "rank_ic", "rank_ic_se", "ic", "sharpe", "sharpe_net", "device",
    "peak_memory_bytes",
)  # fmt: skip
"""Fields of a record that become attributes of its trial, where it has them."""


@dataclass(slots=True)
class _Asked:
    """A trial that the search has handed out."""

    params: Mapping[str, Any]
    time: float
    """Unix time at which it was handed out, in seconds."""
    curve: dict[int, float] = field(default_factory=dict)
    """Objective of the best epoch so far, by the number of the epoch."""


def export(folder: Path, target: Path) -> int:
    """Write the search in ``folder`` into the new file ``target``; return its number of trials.

    The name decides the kind: ``.db``, ``.sqlite`` and ``.sqlite3`` are SQLite databases, any other
    is a journal of Optuna.

    A trial has the searched values as parameters under their plain names: the search itself asks
    Optuna for ``n_layers[d_model=64]``, which no plot could put on one axis. Its intermediate
    values are the objectives of the best epoch so far, as ASHA and the sampler received them. A
    trial without a usable result is FAIL; one that has not ended is RUNNING.

    Raises:
        StudyError: the records cannot be read, or the file exists.
        OSError: the file cannot be written.
    """
    require(
        not target.exists() and not target.is_symlink(),
        str(target),
        "must be a file that does not exist, for nothing is overwritten",
        got="an existing one",
        remedy="Choose another name, or move it away.",
    )
    require(
        target.parent.is_dir(),
        str(target),
        "must lie in a folder that exists",
        got=f"no folder {quoted(str(target.parent))}",
        remedy="Make it, or choose another path; a URL as sqlite:///FILE is none.",
    )
    cell = read_cell(folder, "search", "cell", "metric")
    journal = Journal.read(folder, witness=str(cell["search"]))
    metric, spec = str(cell["metric"]), journal.first.get("cell", {}).get("spec")
    require(
        metric in _OBJECTIVES and isinstance(spec, dict) and {"model", "train"} <= spec.keys(),
        str(folder),
        "must be the folder of a search of this version",
        got=f"metric {quoted(metric)} and a specification {quoted(spec)}",
        remedy="Read it with the version that wrote it.",
        error=StudyError,
    )
    asked = _asked(journal.replay(), cast(Metric, metric))
    records = {record.number: record for record in read_trials(folder)}
    searched, fixed = _dimensions(spec, [trial.params for trial in asked.values()])
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "storage"
        storage = _storage(made, is_sqlite=target.suffix.lower() in _SQLITE_ENDS)
        study = optuna.create_study(
            storage=storage, study_name=str(cell["cell"]), direction="minimize"
        )
        study.set_user_attr("objective", _OBJECTIVES[metric])
        study.set_user_attr("search", journal.search)
        study.set_user_attr("not searched", fixed)
        for number, trial in sorted(asked.items()):
            study.add_trial(_frozen(trial, records.get(number), searched))
        if isinstance(storage, RDBStorage):
            storage.remove_session()
            storage.engine.dispose()
        _publish(made, target)
    return len(asked)


def _asked(events: Sequence[Event], metric: Metric) -> dict[int, _Asked]:
    trials: dict[int, _Asked] = {}
    for event in events:
        if event["kind"] == "asked":
            trials[event["number"]] = _Asked(event["params"], event["time"])
        elif event["kind"] == "epoch":
            report = EpochReport.from_json(event["report"])
            value = objective(report.best, metric)
            if value is not None:
                trials[event["number"]].curve[report.epoch] = value
        elif event["kind"] == "replayed":
            report = EpochReport.from_json(event["report"])
            if report.stop_reason is not None:
                _end_at(trials[event["number"]].curve, report.epoch, objective(report.best, metric))
    return trials


def _end_at(curve: dict[int, float], last: int, value: float | None) -> None:
    """Let the replay of an epoch be the last one of a curve."""
    for epoch in [epoch for epoch in curve if epoch >= last]:
        del curve[epoch]
    if value is not None:
        curve[last] = value


def _dimensions(
    spec: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, BaseDistribution], dict[str, Any]]:
    """Return the distributions of the searched fields, and the values of the others, by name."""
    searched: dict[str, BaseDistribution] = {}
    fixed: dict[str, Any] = {}
    budgets = {"choice": [budget["label"] for budget in spec["budgets"]]}
    for name, raw in {"budget": budgets, **spec["model"], **spec["train"]}.items():
        values = [params[name] for params in trials if name in params]
        kind, listed = next(iter(raw.items())) if isinstance(raw, dict) else ("choice", [raw])
        if kind == "choice":
            # A listed configuration may lie outside of the choices.
            choices = list(dict.fromkeys([*listed, *values]))
            if len(choices) > 1:
                searched[name] = CategoricalDistribution(choices)
            else:
                fixed[name] = choices[0]
        else:
            low, high = min([*listed, *values]), max([*listed, *values])
            searched[name] = FloatDistribution(low, high, log=kind == "log_uniform")
    return searched, fixed


def _frozen(
    trial: _Asked, record: TrialRecord | None, searched: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    state = TrialState.RUNNING
    value = None
    if record is not None:
        # The sampler learns from a score alone, so a trial without one is FAIL.
        state = TrialState.FAIL if record.objective is None else TrialState[record.state]
        value = None if state == TrialState.FAIL else record.objective
    attributes = {} if record is None else _attributes(record)
    names = [name for name in searched if name in trial.params]
    return FrozenTrial(
        # The study replaces number and id when the trial is added.
        number=0,
        trial_id=0,
        state=state,
        value=value,
        datetime_start=datetime.fromtimestamp(trial.time),
        datetime_complete=None if record is None else datetime.fromtimestamp(record.ended),
        params={name: trial.params[name] for name in names},
        distributions={name: searched[name] for name in names},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values=trial.curve,
    )


def _attributes(record: TrialRecord) -> dict[str, Any]:
    row = record.to_json()
    return {name: row[name] for name in _KEPT if name in row}


def _storage(path: Path, *, is_sqlite: bool) -> BaseStorage:
    if is_sqlite:
        return RDBStorage(f"sqlite:///{path}")
    return JournalStorage(JournalFileBackend(str(path)))


def _publish(made: Path, target: Path) -> None:
    """Move a complete file to its place, atomically and without replacing one."""
    temporary = temporary_path(target)
    try:
        with made.open("rb") as source, temporary.open("xb") as file:
            file.write(source.read())
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link fails where the name has been taken meanwhile.
        os.link(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's message that a study was made, until the end of the block."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
