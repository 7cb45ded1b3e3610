"""Trains a winner on shares of the training days, and keeps what its runs answer."""

from collections.abc import Sequence
from pathlib import Path

from study.data.data_share import DataShare
from study.data.dataset import Dataset
from study.errors import DataError, StudyError, require
from study.final.answers.run_answers import write_answers
from study.final.candidates import Candidate
from study.final.run_plan import RunPlan, plan_runs
from study.final.searched_cell import SearchedCell
from study.final.seed_runs import Stage
from study.planning.cell_series import AnyDataset, build_data
from study.results.finals.final_records import (
    RunRecord,
    ShareRecord,
    read_share,
    share_folder,
    write_share,
)
from study.results.provenance import commit
from study.results.records import TrialRecord
from study.search.space import TrialConfig
from study.storage.layout import PREDICTIONS_FILE


def shares_left(folder: Path, shares: Sequence[DataShare]) -> list[DataShare]:
    """Return the shares whose runs have not ended yet.

    Args:
        folder: the folder of the cell's final runs.
        shares: the shares that are asked for.

    Raises:
        StudyError: a record cannot be read.
    """
    return [share for share in shares if read_share(folder, share.name) is None]


def require_trainable(
    search: SearchedCell, shares: Sequence[DataShare], trials: Sequence[TrialRecord], results: Path
) -> None:
    """Refuse shares that cannot be trained on, before anything is.

    Args:
        search: the search of the winner.
        shares: the shares that are asked for.
        trials: the trials among which the winner is.
        results: the results folder.

    Raises:
        StudyError: a share holds less than a batch before some fold, one answer alone, or an input
            that does not vary.
    """
    batch = max(TrialConfig.from_flat(trial.params).train.effective_batch for trial in trials)
    for share in shares:
        data = build_share(search, share, results, fold=None)
        for number, n_samples in enumerate(data.fold_train_rows):
            of = f" before fold {number + 1}" if data.n_folds > 1 else ""
            require(
                n_samples >= batch,
                f"{search.finalist.name}: --data-shares {share.share!r}",
                f"must leave at least a batch of {batch} training samples",
                got=f"{n_samples}{of}",
                remedy="Give a larger share.",
                error=StudyError,
            )


def build_share(
    search: SearchedCell, share: DataShare, results: Path, *, fold: int | None
) -> AnyDataset:
    """Return the data set of a share of the training days, of a fold or of the search.

    Raises:
        StudyError: its samples have one answer alone, or an input does not vary in them.
    """
    where = f"{search.finalist.name}: --data-shares {share.share!r}"
    config = search.finalist.cell.data
    try:
        data = build_data(config, results, fold=fold, share=share)
    except DataError as error:
        raise StudyError(f"{where}: {error}") from error
    if isinstance(data, Dataset):
        require(
            0 < data.base_rate < 1,
            where,
            "must leave training samples with both answers",
            got=f"{len(data.train_days)} that are all {round(data.base_rate)}",
            remedy="Give a larger share.",
            error=StudyError,
        )
    return data


def share_plan(search: SearchedCell, best: Candidate, share: DataShare, results: Path) -> RunPlan:
    """Return how a winner is trained on a share of the training days, which may open test days.

    Raises:
        StudyError: a fold cannot be trained on.
    """
    folds: list[int | None] = (
        list(range(search.data.n_folds)) if search.data.n_folds > 1 else [None]
    )
    data = [build_share(search, share, results, fold=fold) for fold in folds]
    return plan_runs(search, best, data, with_validation=False)


def train_share(
    stage: Stage, plan: RunPlan, share: DataShare, *, winner: int, n_seeds: int, seed: int
) -> ShareRecord:
    """Train a winner on a share of the training days, or resume what has not ended.

    Args:
        stage: the cell.
        plan: how its winner is trained on the share.
        share: the share.
        winner: number of the winning trial in the search.
        n_seeds: number of runs, or of runs before each fold.
        seed: number that is added to the search's seed for the first run: that of the runs on all
            days, so that run k of every share has the seed of run k there, and other days alone.

    Raises:
        Unfinished: training was stopped.
    """
    folder = share_folder(stage.folder, share.name)
    runs_folder = folder / plan.folder
    given = plan.given(n_seeds)
    records = stage.train(given, runs_folder, seed=seed, folds=plan.folds, space=plan.space)
    usable = [record for record in records if record.is_rankable]
    if plan.whole_series(usable):
        file = folder / PREDICTIONS_FILE
        write_answers(stage.search, plan, usable, runs_folder, stage.results, file)
    record = ShareRecord(
        cell=stage.search.finalist.name,
        share=share.share,
        choice=share.choice,
        seed=share.seed,
        winner=winner,
        n_train=[len(data.train_days) for data in plan.folds],
        runs=[RunRecord.of(each, fold=plan.fold_of(each.number)) for each in records],
        commit=commit(),
    )
    write_share(stage.folder, record)
    return record
