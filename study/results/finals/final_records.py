"""Records of final runs: the one writer and the one reader of ``ray_results/final``.

<cell> is the name of the search; a search of several budgets adds the winner's budget to it.

<cell>/selection/          the best trials of the search, trained again with fresh seeds
<cell>/runs/               the winner, trained again with more fresh seeds
<cell>/runs_refit/         the same on training and validation days, with --refit
<cell>/predictions.parquet model, seed, part, date, p, y: of every run and every baseline
<cell>/test_opened.txt     when test labels were first read, written before they were
<cell>/final.json          what was chosen, why, and when the test days were opened; written last
<cell>/model/              the best run: weights, architecture, scaler, features
<cell>/shares/<share>/     the winner on a share of the training days, such as recent_0.25: runs/,
                           predictions.parquet of its runs, and share.json, written last
baselines/<key>.parquet    predictions of the baselines, by their data
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from study.errors import StudyError, cause, quoted, require
from study.fields import rebuild, require_type
from study.names import RANKING
from study.results.finals.fold_records import FoldRecord
from study.results.records import Parameters, TrialRecord
from study.storage.documents import load_json
from study.storage.files import sync_folder, temporary_path, write_json
from study.storage.layout import FINAL_FOLDER, RECORD_FILE, SHARE_FILE, SHARES_FOLDER
from study.storage.parquet_faults import PARQUET_FAULTS

ORACLE = "oracle"
"""Name of the exact probabilities of a simulated market: they bound every model, and are no
baseline."""

CONSTANT = "constant"
"""Name of the baseline that answers with the base rate of the days that it was trained on."""

LOGISTIC = "logistic"
"""Name of logistic regression on all inputs of the last day, the baseline of every search."""

LEAST_PROBABILITY = 1e-4
"""Distance that a judged probability keeps from 0 and 1, an own choice: one wrong answer of 0 would
cost without end."""

COLUMNS = ("model", "seed", "part", "date", "p", "y")
"""Columns of a table of predictions. The model is a family of networks or a baseline, the part is
validation or test, the seed is missing for a baseline, p is a probability and y the label. Walking
forward, the seed is that of the first fold's run, and the validation days are those of the search.
"""

_KEY_DIGITS = 16
"""Number of digits of a sha256 that name a file of baselines."""

_SEED_END = 2**63
"""Smallest number that is too large for a seed, which is a signed 64-bit integer in the table."""


def bounded(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return probabilities that keep ``LEAST_PROBABILITY`` from 0 and 1, of any shape."""
    return np.clip(p, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)


class SearchEnd(TypedDict):
    """The state of the search at the time when its winner was taken."""

    asked: int
    ended: int
    reasons: Mapping[str, int]
    is_complete: bool


class EffectiveSize(TypedDict):
    """The value of a part of the days that is read."""

    effective_size: float


class FinalSplits(TypedDict):
    """The part of the days that is read; a record has the other parts too."""

    test: EffectiveSize


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionRecord:
    """A trial of the search that was trained again."""

    trial: int
    search_value: float
    """Validation loss in the search, by which the trial was chosen."""
    values: Sequence[float]
    """Validation losses with fresh seeds."""
    n_asked: int
    """Number of fresh seeds that were to be trained."""
    mean_value: float | None
    """Mean of ``values``; None if a seed failed or collapsed."""
    architecture: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """The winner, trained with one more fresh seed."""

    seed: int
    trial_id: str
    reason: str
    value: float | None
    """Validation loss; None if it failed."""
    is_rankable: bool
    best_epoch: int | None
    epochs_trained: int
    seconds: float | None
    fold: int = 0
    """Number of the fold of test days before which it was trained, from 0."""

    @classmethod
    def of(cls, trial: TrialRecord, *, fold: int) -> Self:
        """Return what is kept of a run that was trained before a fold of test days."""
        return cls(
            seed=trial.seed,
            trial_id=trial.trial_id,
            reason=trial.reason,
            value=trial.value,
            is_rankable=trial.is_rankable,
            best_epoch=trial.best and trial.best.epoch,
            epochs_trained=trial.epochs_trained,
            seconds=trial.duration_seconds,
            fold=fold,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareRecord:
    """The runs of a cell's winner on a share of the training days."""

    cell: str
    share: float
    """Share of the training samples, above 0 and below 1."""
    choice: str
    """Which days they are: ``recent`` or ``blocks``."""
    seed: int
    """Seed of the order in which blocks of days are taken."""
    winner: int
    """Number of the winning trial in the search."""
    n_train: Sequence[int]
    """Number of training samples before each fold of test days, one where days are cut by shares.
    """
    runs: Sequence[RunRecord]
    commit: str

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.choice}_{self.share!r}"

    @property
    def samples(self) -> int:
        """Mean number of training samples of a run, the size that a law knows."""
        return mean_samples(self.n_train)

    @property
    def is_usable(self) -> bool:
        """Has at least one of its runs a result?"""
        return any(run.is_rankable for run in self.runs)

    @property
    def validation_losses(self) -> list[float]:
        """Losses of its usable runs on the validation days that the search saw."""
        return _validation_losses(self.runs)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalRecord:
    """The final runs of one cell."""

    cell: str
    study: str
    budget: str
    budget_parameters: int
    horizon: int
    task: str
    source: str
    data_sha256: str
    feature_hash: str
    commit: str
    versions: Mapping[str, str]
    winner: int
    """Number of the winning trial in the search."""
    params: Mapping[str, Any]
    """Configuration of the winner, flat, as it trained."""
    param_count: int
    search_value: float
    selection: Sequence[SelectionRecord]
    runs: Sequence[RunRecord]
    splits: FinalSplits
    """Size, positives, effective size, first and last day of every part of the days."""
    search: SearchEnd
    edges: Sequence[str]
    """Values of the winner at the edge of the search space: the optimum may lie beyond it."""
    differences: Sequence[str]
    """Differences to the versions and settings of the search, which the user has allowed."""
    test_opened: str
    """UTC time at which test labels were first read for this cell."""
    folds: Sequence[FoldRecord] = ()
    """Folds of the test days, in order; none where days are cut by shares."""
    with_validation: bool = False
    """Were the runs trained on validation days too? Their validation losses then say nothing."""
    search_number: int = 1
    """Number of the search whose winner it is, among the independent ones of the cell, from 1."""
    metric: str = "log_loss"
    """Score by which the search ranked its trials; log-loss, too, where an earlier version named
    none."""

    @property
    def is_panel(self) -> bool:
        """Were the assets of a panel ranked?"""
        return self.task == RANKING

    @property
    def is_usable(self) -> bool:
        """Has at least one seed a result, of each fold if there are several?"""
        return self.n_whole_seeds > 0

    @property
    def n_seeds(self) -> int:
        """Number of seeds that were trained, whatever became of their runs."""
        return -(-len(self.runs) // max(1, len(self.folds)))

    @property
    def n_whole_seeds(self) -> int:
        """Number of seeds that answer for all test days.

        Walking forward, a run that collapsed answers too: seeds must not be chosen by it.
        """
        if not self.folds:
            return sum(run.is_rankable for run in self.runs)
        answers = [run.is_rankable or run.reason == "collapsed" for run in self.runs]
        n_folds = len(self.folds)
        seeds = (answers[k : k + n_folds] for k in range(0, len(answers), n_folds))
        return sum(len(own) == n_folds and all(own) for own in seeds)

    @property
    def validation_losses(self) -> list[float]:
        """Losses of its usable runs on the validation days that the search saw."""
        return _validation_losses(self.runs)

    @property
    def model(self) -> str:
        """Family of the winner, by which the predictions name it."""
        return str(self.params["family"])


def _validation_losses(runs: Sequence[RunRecord]) -> list[float]:
    own = (run for run in runs if run.fold == 0 and run.is_rankable)
    return [run.value for run in own if run.value is not None]


def mean_samples(n_train: Sequence[int]) -> int:
    """Return the mean number of training samples over the folds of test days."""
    return round(sum(n_train) / len(n_train))


def final_name(cell: str, budget: str, n_budgets: int) -> str:
    """Return the name of a winner's folder: a search of several budgets has a winner of each.

    Labels have no underscore, so the last part of such a name is the budget.
    """
    return cell if n_budgets == 1 else f"{cell}_{budget}"


def write_final(folder: Path, record: FinalRecord) -> None:
    """Write the record of a cell's final runs, which marks them as complete."""
    write_json(folder / RECORD_FILE, dataclasses.asdict(record))


def read_final(folder: Path) -> FinalRecord | None:
    """Return the record of a cell's final runs; None if they have not ended.

    Raises:
        StudyError: the file exists and cannot be read.
    """
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    remedy = "Remove the folder and run study.train again."
    record = rebuild(FinalRecord, load_json(path, remedy), str(path), remedy)
    require_type(record.params, Parameters, f"{path}: params", remedy)
    require(
        any(each.trial == record.winner for each in record.selection),
        str(path),
        "selection must hold the winner",
        got=f"winner={record.winner}, selection of "
        f"{quoted([each.trial for each in record.selection])}",
        remedy=remedy,
        error=StudyError,
    )
    return record


def write_share(folder: Path, record: ShareRecord) -> None:
    """Write the record of the runs on a share of the days, which marks them as complete.

    Args:
        folder: the folder of the cell's final runs.
        record: the record.
    """
    own = share_folder(folder, record.name)
    own.mkdir(parents=True, exist_ok=True)
    write_json(own / SHARE_FILE, dataclasses.asdict(record))


def read_share(folder: Path, name: str) -> ShareRecord | None:
    """Return the record of the runs on a share of the days; None if they have not ended.

    Args:
        folder: the folder of the cell's final runs.
        name: name of the share, such as ``recent_0.25``.

    Raises:
        StudyError: the file exists and cannot be read, or is of another share.
    """
    path = share_folder(folder, name) / SHARE_FILE
    if not path.exists():
        return None
    remedy = "Remove its folder and run study.train with the same --data-shares again."
    record = rebuild(ShareRecord, load_json(path, remedy), str(path), remedy)
    require(
        record.name == name and len(record.n_train) > 0 and min(record.n_train) > 0,
        str(path),
        f"must be the record of {name}, with positive numbers of samples",
        got=f"{quoted(record.name)} and n_train={quoted(list(record.n_train))}",
        remedy=remedy,
        error=StudyError,
    )
    return record


def share_folder(folder: Path, name: str) -> Path:
    """Return the folder of the runs on a share of the days, below that of a cell's final runs."""
    return folder / SHARES_FOLDER / name


def share_names(folder: Path) -> list[str]:
    """Return the names of the shares whose runs have been begun, those of a cell's final runs."""
    shares = folder / SHARES_FOLDER
    return (
        sorted(each.name for each in shares.iterdir() if each.is_dir()) if shares.is_dir() else []
    )


def write_predictions(path: Path, table: pd.DataFrame) -> None:
    """Write a table of predictions; after a crash it is there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    table.loc[:, list(COLUMNS)].to_parquet(temporary, index=False)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def read_predictions(path: Path) -> pd.DataFrame:
    """Return a table of predictions.

    Raises:
        StudyError: it is missing or damaged, or a column holds values of another kind.
    """
    remedy = "Remove it, and final.json if it is beside it, and run study.train again."
    try:
        content = pa.BufferReader(path.read_bytes())
        arrow_table = pq.read_table(content)
        # pandas decodes text on its first use: too late to refuse bytes that are no UTF-8.
        arrow_table.validate(full=True)
        # The metadata of pandas adds nothing that is needed here, and may be damaged too.
        table = arrow_table.to_pandas(ignore_metadata=True)
    except PARQUET_FAULTS as error:
        reason = getattr(error, "strerror", None) or cause(error)
        raise StudyError(
            f"{path}: must be a table of predictions, but got: {reason}. {remedy}"
        ) from error
    missing = [column for column in COLUMNS if column not in table.columns]
    require(
        not missing and table.columns.is_unique,
        str(path),
        f"must have each of the columns {', '.join(COLUMNS)} once",
        got=quoted([str(column) for column in table.columns]),
        remedy=remedy,
        error=StudyError,
    )
    for column, (words, is_right) in _column_rules(table).items():
        wrong = np.flatnonzero(~is_right)[:1]
        got = "".join(f"{quoted(str(table[column].iloc[row]))} in row {row + 1}" for row in wrong)
        require(
            not got,
            f"{path}: column {column}",
            f"must hold {words}",
            got=got,
            remedy=remedy,
            error=StudyError,
        )
    found: pd.DataFrame = table.loc[:, list(COLUMNS)].assign(seed=table["seed"].astype("Int64"))
    return found


def _column_rules(table: pd.DataFrame) -> dict[str, tuple[str, np.ndarray]]:
    """Return by column the values that it must hold, in words, and in which rows it holds them."""

    def numbers(column: str) -> np.ndarray:
        if not pd.api.types.is_numeric_dtype(table[column]):
            return np.full(len(table), np.nan)
        return table[column].to_numpy(dtype=np.float64, na_value=np.nan)

    def are(column: str, kind: type) -> np.ndarray:
        return np.array([isinstance(value, kind) for value in table[column]], dtype=bool)

    p, y, seed = (numbers(column) for column in ("p", "y", "seed"))
    is_seed = (seed % 1 == 0) & (np.abs(seed) < _SEED_END)
    return {
        "model": ("text", are("model", str)),
        "part": ("validation or test", table["part"].isin(["validation", "test"]).to_numpy()),
        "p": ("a probability between 0 and 1", (p > 0) & (p < 1)),
        "y": ("0 or 1", (y == 0) | (y == 1)),
        "date": ("days", are("date", pd.Timestamp) & table["date"].notna().to_numpy()),
        "seed": ("a whole number or nothing", table["seed"].isna().to_numpy() | is_seed),
    }


def baseline_file(results: Path, parts: Mapping[str, Any]) -> Path:
    """Return the file of the baselines' predictions on data with these properties."""
    text = json.dumps(parts, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
    return results / FINAL_FOLDER / "baselines" / f"{key}.parquet"
