"""The final runs of one cell: choose by fresh seeds, train the winner, then open the test days."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.data.dataset import Dataset, build_dataset
from study.data.holdout import Holdout, open_holdout
from study.errors import StudyError, require
from study.final.baseline_predictions import predict_baselines
from study.final.candidates import Candidate, best_trials, candidates, source_of, winner
from study.final.export import ExportedModel, export_model
from study.final.finalists import Finalist
from study.final.search_edges import edges
from study.final.seed_runs import Place, train_configurations
from study.interruptions import Interruptions
from study.results.final_records import (
    FinalRecord,
    RunRecord,
    SearchEnd,
    SelectionRecord,
    baseline_file,
    read_final,
    read_predictions,
    write_final,
    write_predictions,
)
from study.results.provenance import commit, versions
from study.results.records import TrialRecord
from study.results.short_forms import architecture
from study.results.store import read_cell, read_trials
from study.search.cell_folder import differences_by_part
from study.search.forced import Forced
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.dimension import Fixed
from study.spec.specification import Cell
from study.storage.driver_status import is_search_complete
from study.storage.files import write_text
from study.storage.layout import (
    CHECKPOINTS_FOLDER,
    FINAL_FOLDER,
    MODEL_FOLDER,
    PREDICTIONS_FILE,
    REFIT_FOLDER,
    RUNS_FOLDER,
    SELECTION_FOLDER,
    TEST_OPENED_FILE,
)
from study.training.checkpoint import CheckpointFolder
from study.training.device import is_present, resolve_device
from study.training.metrics import probability
from study.training.prediction import predict_logits
from study.training.train_config import TrainConfig
from study.tuner.experiment import SearchOutcome

_SELECTION_SEED, _RUNS_SEED = 1_000_000, 2_000_000
"""Added to the seed of the search, whose trials have that seed plus their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalSettings:
    """How winners are trained again."""

    results: Path
    """The results folder, absolute."""
    n_candidates: int
    """Best trials of a search that are trained again."""
    n_selection_seeds: int
    """Fresh seeds for each of them."""
    n_seeds: int
    """Fresh seeds for the winner."""
    with_validation: bool
    """Is the winner trained on the validation days too, for as many epochs as its best one was?"""
    may_differ: bool
    """May code, data or settings have changed since the search?"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalOutcome:
    """How the final runs of a cell ended."""

    cell: str
    record: FinalRecord | None
    """None if they have not ended."""
    reason: str | None
    """Why they have not."""
    is_fault: bool = False


def train_cell(
    finalist: Finalist,
    settings: FinalSettings,
    place: Place,
    interruptions: Interruptions,
    say: Callable[[str], None],
) -> FinalOutcome:
    """Train the winner of a search again and compare it with baselines on the test days.

    What has ended is not trained again: the same call goes on after an interruption.

    Raises:
        StudyError: there is no search to take winners from, or it is not as it was.
    """
    cell, name = finalist.cell, finalist.name
    folder = settings.results / FINAL_FOLDER / name
    done = read_final(folder)
    if done is not None:
        require(
            done.with_validation == settings.with_validation,
            str(folder),
            "holds final runs that were trained on other days",
            got=f"--refit {_refit_flag(done.with_validation)}",
            remedy="Give that flag, or move the folder away.",
            error=StudyError,
        )
        say(f"{name}: complete before")
        return FinalOutcome(cell=name, record=done, reason=None)
    searched_in = settings.results / cell.name
    require(
        searched_in.is_dir(),
        str(searched_in),
        "a cell must have been searched before its winners can be trained",
        got="no such folder",
        remedy="Run study.tune or study.sweep first.",
        error=StudyError,
    )
    searched = read_cell(searched_in, "trials", "splits", "estimate")
    records = read_trials(searched_in)
    search = _describe_search(searched, records, searched_in)
    own = [record for record in records if record.budget == finalist.budget.label]
    data = build_dataset(cell.data, import_folder=settings.results / "data")
    differences = _differences(searched, cell, data, searched_in, settings)
    differences += finalist.differences
    # What a run asks for is what models of its own budget need.
    space = build_space(
        dataclasses.replace(cell, budgets=(finalist.budget,)), n_features=len(data.feature_names)
    )
    chosen = best_trials(own, settings.n_candidates, str(searched_in))

    def train(given: Sequence[Forced], where: str, seed: int, days: Dataset) -> SearchOutcome:
        return train_configurations(
            cell,
            days,
            space,
            given,
            folder / where,
            seed=cell.search.seed + seed,
            searched=searched,
            place=place,
            interruptions=interruptions,
        )

    say(
        f"{name}: the best {len(chosen)} of {len(own)} trials are trained again, with "
        f"{settings.n_selection_seeds} fresh seeds each"
    )
    given = [_again(trial) for trial in chosen for _ in range(settings.n_selection_seeds)]
    outcome = train(given, SELECTION_FOLDER, _SELECTION_SEED, data)
    if not outcome.is_complete:
        return _unfinished(name, outcome)
    found = candidates(chosen, outcome.records, settings.n_selection_seeds)
    best = winner(found, str(folder / SELECTION_FOLDER))
    say(
        f"{name}: trial {best.trial.number} wins with {best.mean_value:.4f} (in the search "
        f"{best.trial.value:.4f}); it is trained with {settings.n_seeds} more seeds"
    )
    given, where, days = [_again(best.trial)] * settings.n_seeds, RUNS_FOLDER, data
    if settings.with_validation:
        config = refit(best)
        given = [Forced(name=source_of(best.trial), config=config)] * settings.n_seeds
        where, days = REFIT_FOLDER, with_validation_days(data)
        space = with_schedule(space, config.train)
    outcome = train(given, where, _RUNS_SEED, days)
    if not outcome.is_complete:
        return _unfinished(name, outcome)
    opened = _open_test(folder)
    say(f"{name}: the choice is made; test labels are read since {opened}")
    holdout = open_holdout(cell.data, data, import_folder=settings.results / "data")
    runs = [record for record in outcome.records if record.is_rankable]
    predictions = [_of_run(record, folder / where, holdout) for record in runs]
    baselines = _of_baselines(cell, data, holdout, settings.results)
    if settings.with_validation:
        # What was trained on says nothing; the baselines learn from the same days as the model.
        later = dataclasses.replace(holdout, train_days=days.train_days)
        refitted = _of_baselines(cell, days, later, settings.results)
        predictions = [table[table["part"] == "test"] for table in predictions]
        baselines = pd.concat(
            [baselines[baselines["part"] == "validation"], refitted[refitted["part"] == "test"]]
        )
    predictions.append(baselines)
    write_predictions(folder / PREDICTIONS_FILE, pd.concat(predictions, ignore_index=True))
    if runs:
        # Losses on days that were trained on choose nothing.
        first = runs[0] if settings.with_validation else min(runs, key=_by_value)
        _export(finalist, days, folder, folder / where, first)
    record = dataclasses.replace(
        _record(
            finalist,
            data,
            searched,
            search,
            found,
            best,
            outcome,
            differences,
            opened,
        ),
        with_validation=settings.with_validation,
    )
    write_final(folder, record)
    return FinalOutcome(cell=name, record=record, reason=None)


def _open_test(folder: Path) -> str:
    """Return when test labels were first read for this cell, written down before they are."""
    file = folder / TEST_OPENED_FILE
    if not file.exists():
        write_text(file, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
    return file.read_text(encoding="utf-8").strip()


def _again(trial: TrialRecord) -> Forced:
    return Forced(name=source_of(trial), config=TrialConfig.from_flat(trial.params))


def _by_value(record: TrialRecord) -> tuple[float, int]:
    assert record.value is not None
    return record.value, record.number


def _refit_flag(with_validation: bool) -> str:
    return "train+validation" if with_validation else "none"


def with_schedule(space: SearchSpace, train: TrainConfig) -> SearchSpace:
    """Return a search space in which the schedule of ``train`` is that of every trial."""
    own = {"epochs": Fixed(train.epochs), "patience": Fixed(train.patience)}
    return dataclasses.replace(space, train={**space.train, **own})


def refit(best: Candidate) -> TrialConfig:
    """Return the winner's configuration for days that hold nothing back: no early stopping."""
    epochs = [record.best.epoch for record in best.again if record.best is not None]
    config = TrialConfig.from_flat(best.trial.params)
    train = dataclasses.replace(
        config.train, epochs=max(1, round(float(np.median(epochs)))), patience=None
    )
    return dataclasses.replace(config, train=train)


def with_validation_days(data: Dataset) -> Dataset:
    """Return a data set whose training days are those of training and of validation."""
    days = np.concatenate((data.train_days, data.validation_days))
    return dataclasses.replace(data, train_days=days, base_rate=float(data.labels[days].mean()))


def _unfinished(name: str, outcome: SearchOutcome) -> FinalOutcome:
    return FinalOutcome(cell=name, record=None, reason=outcome.stopped, is_fault=outcome.is_fault)


def _differences(
    searched: Mapping[str, Any], cell: Cell, data: Dataset, path: Path, settings: FinalSettings
) -> list[str]:
    """Return what has changed since the search.

    Raises:
        StudyError: something has, and it was not allowed.
    """
    parts = differences_by_part(searched, cell, data, path)
    lines = [line for found in parts.values() for line in found]
    require(
        settings.may_differ or not lines,
        str(path),
        "winners are trained as they were searched",
        got="; ".join(lines),
        remedy="Use the same file, flags, data and versions, or give --allow-differences.",
        error=StudyError,
    )
    return lines


def _table(model: str, seed: int | None, holdout: Holdout, p: np.ndarray) -> pd.DataFrame:
    """Return the predictions of the validation and test days; ``p`` is of all days."""
    parts = {"validation": holdout.validation_days, "test": holdout.test_days}
    days = np.concatenate(list(parts.values()))
    return pd.DataFrame(
        {
            "model": model,
            "seed": pd.array([seed] * len(days), dtype="Int64"),
            "part": np.repeat(list(parts), [len(each) for each in parts.values()]),
            "date": holdout.dates[days],
            "p": p[days],
            "y": holdout.labels[days].astype(np.int8),
        }
    )


def _of_run(record: TrialRecord, runs: Path, holdout: Holdout) -> pd.DataFrame:
    state = CheckpointFolder(runs / record.folder / CHECKPOINTS_FOLDER).load_best()
    config = TrialConfig.from_flat(record.params).model
    days = np.concatenate((holdout.validation_days, holdout.test_days))
    # This machine may not be the one that trained.
    name = record.device if record.device is not None and is_present(record.device) else "cpu"
    device = resolve_device(0.0, name)
    logits = predict_logits(config, state["weights"], holdout.features, days, device=device)
    p = np.full(len(holdout.labels), np.nan)
    p[days] = probability(logits.astype(np.float64))
    return _table(config.family, record.seed, holdout, p)


def _of_baselines(cell: Cell, data: Dataset, holdout: Holdout, results: Path) -> pd.DataFrame:
    """Return the baselines' predictions, from the disk if the same data was asked before."""
    file = baseline_file(
        results,
        {
            "data": dataclasses.asdict(cell.data),
            "prices": data.fingerprint,
            "features": data.feature_hash,
            "n_train": len(holdout.train_days),
            "code": versions(),
        },
    )
    if file.exists():
        return read_predictions(file)
    tables = [
        _table(name, None, holdout, p) for name, p in predict_baselines(cell.data, holdout).items()
    ]
    table = pd.concat(tables, ignore_index=True)
    write_predictions(file, table)
    return table


def _export(finalist: Finalist, data: Dataset, folder: Path, runs: Path, best: TrialRecord) -> None:
    state = CheckpointFolder(runs / best.folder / CHECKPOINTS_FOLDER).load_best()
    export_model(
        folder / MODEL_FOLDER,
        ExportedModel(
            cell=finalist.name,
            data=finalist.cell.data,
            model=TrialConfig.from_flat(best.params).model,
            scaler=data.scaler,
            feature_hash=data.feature_hash,
            origin={
                "trial_id": best.trial_id,
                "seed": best.seed,
                "validation_loss": best.value,
                "base_rate": data.base_rate,
                "data_sha256": data.fingerprint,
                "last_training_day": data.splits["train"].last_day,
                "commit": commit(),
            },
            weights=state["weights"],
        ),
    )


def _describe_search(
    searched: Mapping[str, Any], records: Sequence[TrialRecord], folder: Path
) -> SearchEnd:
    """Return how far the whole search was when its winner was chosen."""
    reasons = Counter(record.reason for record in records)
    asked = int(searched["trials"])
    return {
        "asked": asked,
        "ended": len(records),
        "reasons": dict(sorted(reasons.items())),
        "is_complete": is_search_complete(folder, len(records), asked),
    }


def _record(
    finalist: Finalist,
    data: Dataset,
    searched: Mapping[str, Any],
    search: SearchEnd,
    found: Sequence[Candidate],
    best: Candidate,
    outcome: SearchOutcome,
    differences: Sequence[str],
    opened: str,
) -> FinalRecord:
    trial, cell = best.trial, finalist.cell
    assert trial.value is not None
    return FinalRecord(
        cell=finalist.name,
        study=cell.study,
        budget=finalist.budget.label,
        budget_parameters=finalist.budget.target,
        horizon=cell.data.horizon,
        task=cell.data.task,
        source=cell.data.source,
        data_sha256=data.fingerprint,
        feature_hash=data.feature_hash,
        commit=commit(),
        versions=versions(),
        winner=trial.number,
        params=trial.params,
        param_count=trial.param_count,
        search_value=trial.value,
        selection=[_selection(candidate) for candidate in found],
        runs=[
            RunRecord(
                seed=r.seed,
                trial_id=r.trial_id,
                reason=r.reason,
                value=r.value,
                is_rankable=r.is_rankable,
                best_epoch=r.best and r.best.epoch,
                epochs_trained=r.epochs_trained,
                seconds=r.duration_seconds,
            )
            for r in outcome.records
        ],
        splits=searched["splits"],
        search=search,
        edges=edges(trial.params, finalist.ranges),
        differences=list(differences),
        test_opened=opened,
    )


def _selection(candidate: Candidate) -> SelectionRecord:
    trial = candidate.trial
    assert trial.value is not None
    return SelectionRecord(
        trial=trial.number,
        search_value=trial.value,
        values=[record.value for record in candidate.again if record.value is not None],
        n_asked=candidate.n_asked,
        mean_value=candidate.mean_value,
        architecture=architecture(trial.params),
    )
