"""Plans how a winner is trained for the test days: on which days, and with which schedule."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.data.panel.panel_dataset import PanelDataset
from study.final.candidates import Candidate, source_of
from study.final.searched_cell import SearchedCell
from study.planning.cell_series import AnyDataset
from study.results.records import TrialRecord, fold_of_run
from study.search.forced import Forced
from study.search.space import SearchSpace, TrialConfig
from study.spec.dimension import Fixed
from study.storage.layout import REFIT_FOLDER, RUNS_FOLDER
from study.training.train_config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """One configuration, to be trained once for each fresh seed and fold of test days."""

    folder: str
    """Name of the folder of these runs."""
    configuration: Forced
    folds: tuple[AnyDataset, ...]
    """The data sets on whose training days it is trained, one for each fold of test days."""
    space: SearchSpace
    holds_out_validation: bool
    """Are the validation days held out? If not, they cannot judge a run."""

    def best(self, runs: Sequence[TrialRecord]) -> TrialRecord:
        """Return the run to export: the best on validation days, or the first without them.

        It is one of the last fold that has a run.
        """
        last = max(self.fold_of(run.number) for run in runs)
        own = [run for run in runs if self.fold_of(run.number) == last]
        return min(own, key=_by_value) if self.holds_out_validation else own[0]

    def given(self, n_seeds: int) -> list[Forced]:
        """Return the configuration for every run: for each seed the folds in order.

        More seeds add runs at the end, so that runs keep their numbers.
        """
        if len(self.folds) == 1:
            return [self.configuration] * n_seeds
        own = [
            dataclasses.replace(self.configuration, name=f"{self.configuration.name}, {fold}")
            for fold in (f"fold {n} of {len(self.folds)}" for n in range(1, len(self.folds) + 1))
        ]
        return [own[self.fold_of(number)] for number in range(n_seeds * len(own))]

    def fold_of(self, number: int) -> int:
        """Return the fold of a run by its number."""
        return fold_of_run(number, len(self.folds))

    def whole_series(self, runs: Sequence[TrialRecord]) -> list[list[TrialRecord]]:
        """Return the runs of each seed that has one of every fold, in the order of the folds."""
        n_folds = len(self.folds)
        series: dict[int, list[TrialRecord]] = {}
        for run in sorted(runs, key=lambda run: run.number):
            series.setdefault(run.number - self.fold_of(run.number), []).append(run)
        return [own for own in series.values() if len(own) == n_folds]


def plan_runs(
    search: SearchedCell, best: Candidate, folds: Sequence[AnyDataset], *, with_validation: bool
) -> RunPlan:
    """Return how a winner is trained: as in the search, or on the validation days too.

    Args:
        search: the search of the winner.
        best: the winner.
        folds: the data set of each fold of test days.
        with_validation: is it trained on the validation days too?
    """
    if not with_validation:
        return RunPlan(
            folder=RUNS_FOLDER,
            configuration=again(best.trial),
            folds=tuple(folds),
            space=search.space,
            holds_out_validation=True,
        )
    config = refit(best)
    return RunPlan(
        folder=REFIT_FOLDER,
        configuration=Forced(name=source_of(best.trial), config=config),
        folds=tuple(map(with_validation_days, folds)),
        space=with_schedule(search.space, config.train),
        holds_out_validation=False,
    )


def again(trial: TrialRecord) -> Forced:
    """Return the configuration of a trial, named after it."""
    return Forced(name=source_of(trial), config=TrialConfig.from_flat(trial.params))


def refit(best: Candidate) -> TrialConfig:
    """Return the winner's configuration without early stopping, for no days are held out.

    Its number of epochs is the median of the best epochs of its runs with fresh seeds.
    """
    epochs = [record.best.epoch for record in best.again if record.best is not None]
    config = TrialConfig.from_flat(best.trial.params)
    train = dataclasses.replace(
        config.train, epochs=max(1, round(float(np.median(epochs)))), patience=None
    )
    return dataclasses.replace(config, train=train)


def with_schedule(space: SearchSpace, train: TrainConfig) -> SearchSpace:
    """Return a search space in which the schedule of ``train`` is that of every trial."""
    own = {"epochs": Fixed(train.epochs), "patience": Fixed(train.patience)}
    return dataclasses.replace(space, train={**space.train, **own})


def with_validation_days(data: AnyDataset) -> AnyDataset:
    """Return a data set whose training days include the validation days."""
    days = np.concatenate((data.train_days, data.validation_days))
    if isinstance(data, PanelDataset):
        return dataclasses.replace(data, train_days=days)
    return dataclasses.replace(data, train_days=days, base_rate=float(data.labels[days].mean()))


def _by_value(record: TrialRecord) -> tuple[float, int]:
    assert record.value is not None
    return record.value, record.number
