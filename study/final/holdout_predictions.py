"""Probabilities of the final runs and of the baselines for the days that were held out."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from study.data.data_config import DataConfig
from study.data.dataset import Dataset
from study.data.holdout import Holdout, open_holdout
from study.final.baseline_predictions import baselines_of, predict_baselines
from study.final.run_plan import RunPlan
from study.final.searched_cell import SearchedCell
from study.results.finals.final_records import baseline_file, read_predictions, write_predictions
from study.results.provenance import versions
from study.results.records import TrialRecord
from study.search.space import TrialConfig
from study.storage.layout import CHECKPOINTS_FOLDER
from study.training.checkpoint import CheckpointFolder
from study.training.device import is_present, resolve_device
from study.training.metrics import probability
from study.training.prediction import predict_logits


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldoutAnswers:
    """Probabilities of the final runs of a cell and of its baselines."""

    table: pd.DataFrame
    """Predictions of every seed that has a run of each fold, then those of the baselines."""
    of_runs: Mapping[str, pd.DataFrame]
    """Predictions of each run for the days of its own fold, by trial id."""


def predict_holdout(
    search: SearchedCell,
    plan: RunPlan,
    runs: Sequence[TrialRecord],
    runs_folder: Path,
    results: Path,
) -> HoldoutAnswers:
    """Open the test days and return what the runs and the baselines answer there.

    The baselines of a fold are fitted on the training days of its runs. Of the validation days,
    those that the search saw are in the table: a baseline is chosen by them.

    Args:
        search: the search of the winner.
        plan: how its runs were trained.
        runs: its runs that have a usable result.
        runs_folder: the folder of the runs.
        results: the results folder, in which predictions of baselines are kept.
    """
    config = search.finalist.cell.data
    own: dict[str, pd.DataFrame] = {}
    baselines: list[pd.DataFrame] = []
    for number, data in enumerate(plan.folds):
        fold, holdout = _open(search, plan, number, results)
        own |= _of_fold(plan, number, runs, runs_folder, holdout)
        found = baselines_once(config, data, holdout, results, fold=fold)
        if number == 0:
            baselines.append(_validation_of_baselines(search, plan, found, results, fold=fold))
        baselines.append(_of_part(found, "test"))
    seeds = [_of_series(series, own) for series in plan.whole_series(runs)]
    return HoldoutAnswers(table=pd.concat([*seeds, *baselines], ignore_index=True), of_runs=own)


def predict_runs(
    search: SearchedCell,
    plan: RunPlan,
    runs: Sequence[TrialRecord],
    runs_folder: Path,
    results: Path,
) -> pd.DataFrame:
    """Return what runs answer on the validation and test days, without any baseline.

    Args:
        search: the search of the winner.
        plan: how its runs were trained.
        runs: its runs that have a usable result; some seed must have one of each fold.
        runs_folder: the folder of the runs.
        results: the results folder.
    """
    own: dict[str, pd.DataFrame] = {}
    for number in range(len(plan.folds)):
        _, holdout = _open(search, plan, number, results)
        own |= _of_fold(plan, number, runs, runs_folder, holdout)
    seeds = [_of_series(series, own) for series in plan.whole_series(runs)]
    return pd.concat(seeds, ignore_index=True)


def _open(
    search: SearchedCell, plan: RunPlan, number: int, results: Path
) -> tuple[int | None, Holdout]:
    """Return the number of a fold, None where days are cut by shares, and its opened days."""
    fold = number if search.data.n_folds > 1 else None
    config, data = search.finalist.cell.data, plan.folds[number]
    return fold, open_holdout(config, data, import_folder=results / "data", fold=fold)


def _of_fold(
    plan: RunPlan, number: int, runs: Sequence[TrialRecord], runs_folder: Path, holdout: Holdout
) -> dict[str, pd.DataFrame]:
    """Return the predictions of the runs of a fold for its days, by trial id."""
    tables = {
        run.trial_id: _of_run(run, runs_folder, holdout)
        for run in runs
        if plan.fold_of(run.number) == number
    }
    if plan.holds_out_validation:
        return tables
    return {trial_id: _of_part(table, "test") for trial_id, table in tables.items()}


def _validation_of_baselines(
    search: SearchedCell, plan: RunPlan, found: pd.DataFrame, results: Path, *, fold: int | None
) -> pd.DataFrame:
    """Return what baselines that have not seen the validation days answer there.

    Args:
        search: the search of the winner.
        plan: how its runs were trained.
        found: predictions of the baselines that were fitted on the training days of the runs.
        results: the results folder.
        fold: number of the first fold; None where days are cut by shares.
    """
    if not plan.holds_out_validation:
        config = search.finalist.cell.data
        holdout = open_holdout(config, search.data, import_folder=results / "data", fold=fold)
        found = baselines_once(config, search.data, holdout, results, fold=fold)
    return _of_part(found, "validation")


def _of_series(series: Sequence[TrialRecord], own: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the predictions of the runs of one seed, one of each fold, under the first one's."""
    first, *later = (own[run.trial_id] for run in series)
    tables = [first, *(_of_part(table, "test") for table in later)]
    return pd.concat(tables, ignore_index=True).assign(seed=first["seed"].iloc[0])


def _of_part(table: pd.DataFrame, part: str) -> pd.DataFrame:
    return table[table["part"] == part]


def _of_run(record: TrialRecord, runs: Path, holdout: Holdout) -> pd.DataFrame:
    state = CheckpointFolder(runs / record.folder / CHECKPOINTS_FOLDER).load_best()
    config = TrialConfig.from_flat(record.params).model
    days = np.concatenate((holdout.validation_days, holdout.test_days))
    # Another machine, with another device, may have trained it.
    name = record.device if record.device is not None and is_present(record.device) else "cpu"
    device = resolve_device(0.0, name)
    logits = predict_logits(config, state["weights"], holdout.features, days, device=device)
    p = np.full(len(holdout.labels), np.nan)
    p[days] = probability(logits.astype(np.float64))
    return _table(config.family, record.seed, holdout, p)


def baselines_once(
    config: DataConfig, data: Dataset, holdout: Holdout, results: Path, *, fold: int | None
) -> pd.DataFrame:
    """Return the baselines' predictions, read back if the same ones were made for this data before.

    Args:
        config: the definition of the data set.
        data: the data set, whose fingerprints name the file of the predictions.
        holdout: the days that were held out, with their labels.
        results: the results folder.
        fold: number of the fold, from 0; None where days are cut by shares.
    """
    file = baseline_file(
        results,
        {
            "data": dataclasses.asdict(config),
            "prices": data.fingerprint,
            "features": data.feature_hash,
            "fold": fold,
            "n_train": len(holdout.train_days),
            "baselines": list(baselines_of(config)),
            "code": versions(),
        },
    )
    if file.exists():
        return read_predictions(file)
    table = baseline_table(config, holdout)
    write_predictions(file, table)
    return table


def baseline_table(config: DataConfig, holdout: Holdout) -> pd.DataFrame:
    """Return the predictions that every baseline makes of the validation and test days."""
    tables = [
        _table(name, None, holdout, p) for name, p in predict_baselines(config, holdout).items()
    ]
    return pd.concat(tables, ignore_index=True)


def _table(model: str, seed: int | None, holdout: Holdout, p: np.ndarray) -> pd.DataFrame:
    """Return the predictions of the validation and test days from those of all days, ``p``."""
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
