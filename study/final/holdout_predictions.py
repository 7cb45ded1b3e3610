"""Probabilities of the final runs and of the baselines for the days that were held out."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from study.data.data_config import DataConfig
from study.data.dataset import Dataset
from study.data.holdout import Holdout
from study.final.baseline_predictions import BASELINES, predict_baselines
from study.final.run_plan import RunPlan
from study.final.searched_cell import SearchedCell
from study.results.final_records import baseline_file, read_predictions, write_predictions
from study.results.provenance import versions
from study.results.records import TrialRecord
from study.search.space import TrialConfig
from study.storage.layout import CHECKPOINTS_FOLDER
from study.training.checkpoint import CheckpointFolder
from study.training.device import is_present, resolve_device
from study.training.metrics import probability
from study.training.prediction import predict_logits


def predict_holdout(
    search: SearchedCell,
    plan: RunPlan,
    runs: Sequence[TrialRecord],
    runs_folder: Path,
    holdout: Holdout,
    results: Path,
) -> pd.DataFrame:
    """Return the predictions of all runs, then those of the baselines.

    The baselines of the test days are fitted on the training days of the runs.

    Args:
        search: the search of the winner.
        plan: how its runs were trained.
        runs: its runs that have a usable result.
        runs_folder: the folder of the runs.
        holdout: the validation and test days, with their labels.
        results: the results folder, in which predictions of baselines are kept.
    """
    config = search.finalist.cell.data
    own = [_of_run(record, runs_folder, holdout) for record in runs]
    baselines = baselines_once(config, search.data, holdout, results)
    if not plan.holds_out_validation:
        later = dataclasses.replace(holdout, train_days=plan.days.train_days)
        refitted = baselines_once(config, plan.days, later, results)
        own = [_of_part(table, "test") for table in own]
        baselines = pd.concat([_of_part(baselines, "validation"), _of_part(refitted, "test")])
    return pd.concat([*own, baselines], ignore_index=True)


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
    config: DataConfig, data: Dataset, holdout: Holdout, results: Path
) -> pd.DataFrame:
    """Return the baselines' predictions, read back if the same ones were made for this data before.

    Args:
        config: the definition of the data set.
        data: the data set, whose fingerprints name the file of the predictions.
        holdout: the days that were held out, with their labels.
        results: the results folder.
    """
    file = baseline_file(
        results,
        {
            "data": dataclasses.asdict(config),
            "prices": data.fingerprint,
            "features": data.feature_hash,
            "n_train": len(holdout.train_days),
            "baselines": list(BASELINES),
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
