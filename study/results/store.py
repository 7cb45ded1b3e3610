"""The one writer and the one reader of the records of a cell: views of its journal.

cell.yaml              resolved spec, versions, data, machine, baselines
all_trials.json        every trial that ended, rewritten after each
best_params.json       the best so far, rewritten when a trial ends; none of runs of several folds
log.txt                the lines of the terminal, with the time
<trial>/result.json    one line per epoch
<trial>/metrics.json   the trial's record with its learning curve
../experiment_results.csv   one line per run of every cell (``study.results.tables.all_runs``)
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import indent
from typing import Any

from study.errors import StudyError, quoted, require
from study.fields import is_folder_name, require_type
from study.results.epoch_report import EpochRecord
from study.results.records import (
    ADDED_NAMES,
    CellDescription,
    Metric,
    Parameters,
    TrialRecord,
    best_trial,
    fold_of_run,
    is_panel_row,
    is_row_of_heads,
    row_types,
    score,
)
from study.results.scores import HoldoutScores, PanelHoldoutScores
from study.results.tables.all_runs import add_rows, replace_rows, table_text
from study.storage.documents import load_json, load_yaml
from study.storage.files import (
    append_line,
    read_json,
    read_text,
    write_json,
    write_text,
    write_yaml,
)
from study.storage.layout import (
    BEST_FILE,
    CELL_FILE,
    EPOCHS_FILE,
    LOG_FILE,
    METRICS_FILE,
    REFIT_FOLDER,
    RUNS_FOLDER,
    SELECTION_FOLDER,
    TABLE_FILE,
    TRIALS_FILE,
)

_REMEDY = "Mend it with --resume."

_HEADLINES = {False: ("skill", "auc"), True: ("rank_ic", "rank_ic_se", "ic", "sharpe_net")}
"""Scores beside the loss in the files of a cell; is it a panel's?"""

_RUN_TYPES = {SELECTION_FOLDER: "selection", RUNS_FOLDER: "final", REFIT_FOLDER: "final"}
"""Kinds of runs by the name of their folder; in any other folder is a search."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellIdentity:
    """The values by which every file of a cell names its cell."""

    name: str
    study: str
    budget: str
    """Label of the budget, or the labels of all that are searched."""
    phase: int | None
    """1 or 2 in a search of two phases."""
    metric: Metric
    """Score by which trials are ranked."""
    horizon: int
    task: str
    data_sha256: str
    versions: Mapping[str, str]
    search_number: int = 1
    """Number of the search among the independent ones of the cell, from 1."""


class CellStore:
    """Writes the records of one cell.

    Every method may be repeated after a crash, and leaves the same files. What is kept is the text
    of each trial's row, as the rows of all are written again whenever a trial ends.

    Args:
        folder: the folder of the cell.
        identity: the values that name it.
        n_folds: number of folds of test days before which its runs are trained in turn; 1 if all
            runs have the same days.
    """

    def __init__(self, folder: Path, identity: CellIdentity, *, n_folds: int = 1) -> None:
        self.folder = folder
        self._n_folds = n_folds
        self._identity = identity
        self._csv = folder.parent / TABLE_FILE
        self._texts: dict[int, tuple[TrialRecord, str]] = {}
        """Record and text of every row that was written, by number."""

    def log(self, text: str) -> None:
        """Append to the cell's log, each line with the time."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        for line in text.splitlines():
            append_line(self.folder / LOG_FILE, f"{stamp} {line}")

    def write_epochs(self, trial_folder: str, epochs: Sequence[EpochRecord]) -> None:
        """Write a trial's log with exactly these epochs, unless it holds them already."""
        text = _json_lines(epochs)
        path = self.folder / trial_folder / EPOCHS_FILE
        if read_text(path) != text:
            write_text(path, text)

    def add_epoch(self, trial_folder: str, report: EpochRecord) -> None:
        """Append one epoch to a trial's log."""
        append_line(self.folder / trial_folder / EPOCHS_FILE, _json_line(report))

    def write_trial(self, record: TrialRecord, epochs: Sequence[EpochRecord]) -> None:
        """Write the record of a trial that ended into its folder."""
        write_json(self._metrics(record), _metrics(record, epochs))

    def has_trial(self, record: TrialRecord, epochs: Sequence[EpochRecord]) -> bool:
        """Are a trial's log and record in its folder, as they were written?"""
        log = read_text(self.folder / record.folder / EPOCHS_FILE)
        metrics = read_json(self._metrics(record))
        return bool(log == _json_lines(epochs) and metrics == _metrics(record, epochs))

    def write_trials(self, records: Sequence[TrialRecord]) -> None:
        """Write the records of the whole cell: all trials, the best, and the table of all cells."""
        write_text(self.folder / TRIALS_FILE, self._trials_text(records))
        self._write_best(records)
        add_rows(
            self._csv,
            [self._run_id(record) for record in records],
            lambda place: self._csv_row(records[place]),
        )

    def write_final_runs(
        self,
        records: Sequence[TrialRecord],
        scores: Mapping[str, HoldoutScores | PanelHoldoutScores],
        results: Path,
    ) -> None:
        """Write the rows of a winner's runs with their scores on the test days.

        They go into the table beside the runs and into that of all cells.

        Args:
            records: the runs.
            scores: scores on the test days by trial id; a run without a result has none.
            results: the results folder.
        """
        rows = []
        for record in records:
            row = self._csv_row(record)
            if record.trial_id in scores:
                row |= _test_columns(scores[record.trial_id])
            rows.append(row)
        for path in (self._csv, results / TABLE_FILE):
            replace_rows(path, rows)

    def table(self, records: Sequence[TrialRecord]) -> str:
        """Return this cell's part of the table of all cells."""
        return table_text([self._csv_row(record) for record in records])

    def _trials_text(self, records: Sequence[TrialRecord]) -> str:
        """Return the text of all rows, as ``write_json`` would write it."""
        for record in records:
            if record.number not in self._texts or self._texts[record.number][0] is not record:
                self._texts[record.number] = (record, _row_text(record))
        rows = ",\n".join(self._texts[record.number][1] for record in records)
        return f"[\n{rows}\n]\n" if rows else "[]\n"

    def _metrics(self, record: TrialRecord) -> Path:
        return self.folder / record.folder / METRICS_FILE

    def _write_best(self, records: Sequence[TrialRecord]) -> None:
        # Runs of different folds are judged on different days, so that none is the best of them.
        best = best_trial(records) if self._n_folds == 1 else None
        if best is None:
            return
        write_json(self.folder / BEST_FILE, self._best_row(best, records))

    def _best_row(self, best: TrialRecord, records: Sequence[TrialRecord]) -> dict[str, Any]:
        identity, params, scores = self._identity, best.params, best.best
        flat = best.to_json()
        assert scores is not None
        states = [record.state for record in records]
        return {
            "experiment": identity.name,
            "study_name": identity.study,
            "budget": best.budget,
            "phase": identity.phase,
            "group": best.group,
            "name": best.name,
            "metric": identity.metric,
            "horizon": identity.horizon,
            "family": params["family"],
            "architecture": {
                "d_model": params["d_model"],
                "n_layers": params["n_layers"],
                "n_heads": params["n_heads"],
                "d_ff": best.d_ff,
                "patch_len": params["patch_length"],
                "stride": params["patch_stride"],
            },
            "training": {
                "learning_rate": params["learning_rate"],
                "epochs": params["epochs"],
                "batch_size": params["effective_batch"],
                "weight_decay": params["weight_decay"],
                "warmup_share": params["warmup_share"],
                "warmup_steps": self._warmup_steps(best),
                "dropout": params["dropout"],
            },
            "param_count": best.param_count,
            "best_val_loss": scores.loss,
            "best_val_loss_se": scores.loss_se,
            "difference_to_baseline": scores.difference,
            "difference_se": scores.difference_se,
            "best_value": score(scores, identity.metric),
            "best_trial_number": best.number,
            "best_epoch": scores.epoch,
            "best_params": dict(params),
            **{name: flat[name] for name in _HEADLINES[is_panel_row(flat)]},
            "n_trials": len(states),
            "n_trials_completed": states.count("COMPLETE"),
            "n_trials_pruned": states.count("PRUNED"),
            "n_trials_failed": states.count("FAIL"),
            "timestamp": _stamp(datetime.now(UTC).timestamp()),
            "versions": dict(identity.versions),
        }

    def _warmup_steps(self, record: TrialRecord) -> int | None:
        """Return the number of steps over which a trial's rate rose; None if its log is lost."""
        curve = (read_json(self._metrics(record)) or {}).get("learning_curve")
        if not curve:
            return None
        # An epoch has the same number of steps as any other.
        steps_per_epoch = curve[0]["step"] / curve[0]["epoch"]
        share, epochs = record.params["warmup_share"], record.params["epochs"]
        warmup_steps: int = round(share * epochs * steps_per_epoch)
        return warmup_steps

    def _run_id(self, record: TrialRecord) -> str:
        return f"{self._identity.name}/{record.trial_id}"

    def _csv_row(self, record: TrialRecord) -> dict[str, object]:
        identity, flat = self._identity, record.to_json()
        run_type = _RUN_TYPES.get(self.folder.name, "hpo")
        return {
            "timestamp": _stamp(record.ended),
            "experiment": identity.name,
            "phase": _phase(identity),
            "budget": record.budget,
            "task": identity.task,
            "horizon": identity.horizon,
            "timescale": "daily",
            "script_path": "study.tune" if run_type == "hpo" else "study.train",
            "run_type": run_type,
            "status": "failed" if record.state == "FAIL" else "success",
            "duration_seconds": _rounded(record.duration_seconds, 3),
            "val_loss": record.value,
            "hyperparameters": json.dumps(dict(record.params), sort_keys=True),
            "error_message": record.message,
            "thermal_max_temp": record.thermal_max_temp,
            "d_model": record.params["d_model"],
            "n_layers": record.params["n_layers"],
            "n_heads": record.params["n_heads"],
            "d_ff": record.d_ff,
            "param_count": record.param_count,
            "run_id": self._run_id(record),
            "trial_number": record.number,
            "source": record.source,
            "reason": record.reason,
            "val_loss_se": flat["value_se"],
            "difference_to_baseline": flat["difference"],
            "difference_se": flat["difference_se"],
            "best_epoch": flat["best_epoch"],
            "epochs_trained": record.epochs_trained,
            **{name: flat.get(name) for names in _HEADLINES.values() for name in names},
            "data_sha256": identity.data_sha256,
            "search_phase": record.phase,
            "group": record.group,
            "name": record.name,
            "metric": identity.metric,
            "objective": record.objective,
            "objective_se": record.objective_se,
            "search_number": identity.search_number,
            "fold": fold_of_run(record.number, self._n_folds) if self._n_folds > 1 else None,
        }


def write_cell(folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``cell.yaml``: the description of the cell and of the machine it runs on."""
    write_yaml(folder / CELL_FILE, dict(description))


def read_cell(folder: Path, *needed: str) -> dict[str, Any]:
    """Return ``cell.yaml``.

    Args:
        folder: folder of the cell.
        needed: keys that the caller needs.

    Raises:
        StudyError: it cannot be read, lacks one of these keys, or holds a value of a wrong type.
    """
    path = folder / CELL_FILE
    description = load_yaml(path, _REMEDY)
    require_type(description, CellDescription, str(path), _REMEDY)
    missing = [name for name in needed if name not in description]
    require(
        not missing,
        str(path),
        f"must be of this version and have {', '.join(needed)}",
        got=f"none of the name {', '.join(missing)}",
        remedy=_REMEDY,
        error=StudyError,
    )
    found: dict[str, Any] = description
    return found


def read_trials(folder: Path) -> list[TrialRecord]:
    """Return the trials of a cell that ended; empty if none has yet.

    Raises:
        StudyError: the file is malformed, or a field of a record is missing or not of its type.
    """
    path = folder / TRIALS_FILE
    if not path.exists():
        return []
    rows = load_json(path, _REMEDY)
    where = f"{path}: must hold the records of this version"
    require_type(rows, list[Any], where, _REMEDY)
    return [_record(row, f"{where}: [{place}]") for place, row in enumerate(rows)]


def _record(row: Any, where: str) -> TrialRecord:
    _check_types(row, where)
    record = TrialRecord.from_json(row)
    require_type(record.params, Parameters, f"{where}: params", _REMEDY)
    for holds, rule, got in (
        (record.number >= 0, "number must be >= 0", record.number),
        (record.epochs_trained >= 0, "epochs_trained must be >= 0", record.epochs_trained),
        (record.param_count >= 1, "param_count must be >= 1", record.param_count),
        *(
            (record.params[name] >= 1, f"params: {name} must be >= 1", record.params[name])
            for name in ("d_model", "n_layers", "n_heads", "epochs")
        ),
        (
            is_folder_name(record.folder),
            "folder must be the name of a folder",
            record.folder,
        ),
        (
            record.value is not None or not record.is_rankable,
            "value must be a number where the trial has an objective",
            record.value,
        ),
    ):
        require(holds, where, rule, got=quoted(got), remedy=_REMEDY, error=StudyError)
    return record


def _check_types(row: Any, where: str) -> None:
    """Refuse a row that lacks a value, or has one that is not of its type.

    Raises:
        StudyError: a value is missing or of a wrong type; the message names its place.
    """
    require_type(row, Mapping[str, Any], where, _REMEDY)
    types = row_types(is_panel=is_panel_row(row), has_further=is_row_of_heads(row))
    missing = next((n for n in types if n not in row and n not in ADDED_NAMES), None)
    require(
        missing is None,
        where,
        f"must be a mapping with the field {missing}",
        got="none of that name",
        remedy=_REMEDY,
        error=StudyError,
    )
    for name, kind in types.items():
        require_type(row.get(name), kind, f"{where}: {name}", _REMEDY)
    if row["value"] is None:
        return
    for name in ("best_epoch",) if is_panel_row(row) else ("best_epoch", "skill", "brier"):
        require(
            row[name] is not None,
            where,
            f"{name} must be a number where the trial has a value",
            got="null",
            remedy=_REMEDY,
            error=StudyError,
        )


def _test_columns(scores: HoldoutScores | PanelHoldoutScores) -> dict[str, object]:
    if isinstance(scores, PanelHoldoutScores):
        return {"test_rank_ic": scores.rank_ic}
    return {"test_accuracy": scores.accuracy, "test_loss": scores.loss, "test_auc": scores.auc}


def _phase(identity: CellIdentity) -> str:
    """Return the table's phase: the name of the study, with the phase of its search if it has two.

    The study that this one replaces used its own name in this column.
    """
    return identity.study if identity.phase is None else f"{identity.study}-{identity.phase}"


def _row(record: TrialRecord) -> dict[str, Any]:
    return {**record.to_json(), "state": record.state}


def _row_text(record: TrialRecord) -> str:
    """Return the text of a row as it stands in the list of all."""
    return indent(json.dumps(_row(record), indent=2, allow_nan=False), "  ")


def _metrics(record: TrialRecord, epochs: Sequence[EpochRecord]) -> dict[str, Any]:
    return {**_row(record), "learning_curve": [epoch.to_json() for epoch in epochs]}


def _json_line(report: EpochRecord) -> str:
    return json.dumps(report.to_json(), allow_nan=False)


def _json_lines(epochs: Sequence[EpochRecord]) -> str:
    return "".join(f"{_json_line(epoch)}\n" for epoch in epochs)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
