"""Runs the final runs of cells: choose by fresh seeds, train the winner, open the test days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from study.data.dataset import Dataset, build_dataset
from study.errors import StudyError, require
from study.final.candidates import Candidate, best_trials, candidates, winner
from study.final.export import ExportedModel, export_model
from study.final.finalists import Finalist
from study.final.holdout_predictions import predict_holdout
from study.final.outcomes import FinalOutcome, FinalOutcomes, FinalSettings
from study.final.run_plan import RunPlan, again, plan_runs
from study.final.scored_runs import write_scored_runs
from study.final.search_edges import edges
from study.final.searched_cell import SearchedCell, read_searched_cell
from study.final.seed_runs import Place, train_configurations
from study.interruptions import Interruptions
from study.results.final_records import (
    FinalRecord,
    FoldRecord,
    RunRecord,
    SelectionRecord,
    read_final,
    write_final,
    write_predictions,
)
from study.results.provenance import commit, versions
from study.results.records import TrialRecord
from study.search.forced import Forced
from study.search.space import SearchSpace, TrialConfig
from study.storage.files import write_text
from study.storage.layout import (
    CHECKPOINTS_FOLDER,
    FINAL_FOLDER,
    MODEL_FOLDER,
    PREDICTIONS_FILE,
    SELECTION_FOLDER,
    TEST_OPENED_FILE,
)
from study.text.short_forms import architecture
from study.training.checkpoint import CheckpointFolder
from study.tuner.experiment import SearchOutcome

_SELECTION_SEED, _RUNS_SEED = 1_000_000, 2_000_000
"""Numbers that are added to a search's seed for the seeds of the selection and of the winner's
runs; a trial of the search has the search's seed plus its own number."""


class Unfinished(Exception):
    """Runs stopped before all of them had ended."""

    def __init__(self, outcome: SearchOutcome) -> None:
        super().__init__(outcome.stopped)
        self.outcome = outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The trials that were trained again with fresh seeds, and the best of them."""

    candidates: Sequence[Candidate]
    best: Candidate


@dataclass(frozen=True, kw_only=True, slots=True)
class WinnerRuns:
    """The winner, trained with more fresh seeds."""

    plan: RunPlan
    folder: Path
    records: Sequence[TrialRecord]

    @property
    def usable(self) -> list[TrialRecord]:
        """The runs that have a result; one that collapsed answers for the days of its fold."""
        may_collapse = len(self.plan.folds) > 1
        return [
            record
            for record in self.records
            if record.is_rankable or (may_collapse and record.reason == "collapsed")
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stage:
    """The parts that all runs of one cell share."""

    search: SearchedCell
    folder: Path
    place: Place
    interruptions: Interruptions

    def train(
        self,
        given: Sequence[Forced],
        folder: Path,
        *,
        seed: int,
        folds: Sequence[Dataset],
        space: SearchSpace,
    ) -> Sequence[TrialRecord]:
        """Train each configuration once, or resume those that have not ended.

        Raises:
            Unfinished: training was stopped.
        """
        cell = self.search.finalist.cell
        outcome = train_configurations(
            cell,
            folds,
            space,
            given,
            folder,
            seed=cell.search.seed + seed,
            searched=self.search.described,
            place=self.place,
            interruptions=self.interruptions,
        )
        if not outcome.is_complete:
            raise Unfinished(outcome)
        return outcome.records


def train_cells(
    finalists: Sequence[Finalist],
    settings: FinalSettings,
    place: Place,
    interruptions: Interruptions,
    say: Callable[[str], None],
    report: Callable[[str], None],
) -> FinalOutcomes:
    """Train the winners of several cells, up to the first that is interrupted.

    Args:
        finalists: the budgets whose winners are trained.
        settings: the numbers of candidates and seeds.
        place: the machines.
        interruptions: the signals by which the user stops it.
        say: prints a line of progress.
        report: prints the error of a cell that is refused; the others have their own winners.
    """
    outcomes: list[FinalOutcome] = []
    problems: list[str] = []
    for finalist in finalists:
        try:
            outcome = train_cell(finalist, settings, place, interruptions, say)
        except StudyError as error:
            problems.append(str(error))
            report(str(error))
            continue
        outcomes.append(outcome)
        if outcome.record is None:
            break
    return FinalOutcomes(outcomes=outcomes, problems=problems)


def train_cell(
    finalist: Finalist,
    settings: FinalSettings,
    place: Place,
    interruptions: Interruptions,
    say: Callable[[str], None],
) -> FinalOutcome:
    """Train the winner of a search again and compare it with baselines on the test days.

    Runs that have ended are not repeated: the same call resumes after an interruption.

    Raises:
        StudyError: there is no search to take winners from, or something has changed since.
    """
    name, results = finalist.name, settings.results
    folder = results / FINAL_FOLDER / name
    done = _complete_before(folder, settings)
    if done is not None:
        say(f"{name}: complete before")
        return FinalOutcome(cell=name, record=done, reason=None)
    search = read_searched_cell(finalist, results, may_differ=settings.may_differ)
    stage = _Stage(search=search, folder=folder, place=place, interruptions=interruptions)
    try:
        selection = _select(stage, settings, say)
        runs = _train_winner(stage, selection.best, settings, say)
    except Unfinished as stop:
        outcome = stop.outcome
        return FinalOutcome(
            cell=name, record=None, reason=outcome.stopped, is_fault=outcome.is_fault
        )
    opened = _open_test(folder)
    say(f"{name}: the choice is made; test labels are read since {opened}")
    answers = predict_holdout(search, runs.plan, runs.usable, runs.folder, results)
    write_predictions(folder / PREDICTIONS_FILE, answers.table)
    write_scored_runs(
        finalist.cell, runs.folder, runs.records, answers.of_runs, search.data.fingerprint, results
    )
    if runs.usable:
        _export(finalist, runs, folder / MODEL_FOLDER)
    record = _record(search, selection, runs, opened)
    write_final(folder, record)
    return FinalOutcome(cell=name, record=record, reason=None)


def _complete_before(folder: Path, settings: FinalSettings) -> FinalRecord | None:
    """Return the record of final runs that have ended; None if there is none.

    Raises:
        StudyError: they were trained on other days.
    """
    done = read_final(folder)
    require(
        done is None or done.with_validation == settings.with_validation,
        str(folder),
        "holds final runs that were trained on other days",
        got=f"--refit {'none' if settings.with_validation else 'train+validation'}",
        remedy="Give that flag, or move the folder away.",
        error=StudyError,
    )
    return done


def _select(stage: _Stage, settings: FinalSettings, say: Callable[[str], None]) -> Selection:
    """Train the best trials of the search with fresh seeds and choose among them.

    Raises:
        StudyError: no trial is usable, or no configuration with every seed.
        Unfinished: training was stopped.
    """
    search, n_seeds = stage.search, settings.n_selection_seeds
    chosen = best_trials(search.records, settings.n_candidates, str(search.folder))
    say(
        f"{search.finalist.name}: the best {len(chosen)} of {len(search.records)} trials are "
        f"trained again, with {n_seeds} fresh seeds each"
    )
    folder = stage.folder / SELECTION_FOLDER
    given = [again(trial) for trial in chosen for _ in range(n_seeds)]
    records = stage.train(
        given, folder, seed=_SELECTION_SEED, folds=[search.data], space=search.space
    )
    found = candidates(chosen, records, n_seeds)
    return Selection(candidates=found, best=winner(found, str(folder)))


def _train_winner(
    stage: _Stage, best: Candidate, settings: FinalSettings, say: Callable[[str], None]
) -> WinnerRuns:
    """Train the winner with more fresh seeds.

    Raises:
        Unfinished: training was stopped.
    """
    say(
        f"{stage.search.finalist.name}: trial {best.trial.number} wins with "
        f"{best.mean_value:.4f} (in the search {best.trial.value:.4f}); it is trained with "
        f"{settings.n_seeds} more seeds"
    )
    folds = _folds(stage, settings)
    plan = plan_runs(stage.search, best, folds, with_validation=settings.with_validation)
    folder = stage.folder / plan.folder
    given = plan.given(settings.n_seeds)
    records = stage.train(given, folder, seed=_RUNS_SEED, folds=plan.folds, space=plan.space)
    return WinnerRuns(plan=plan, folder=folder, records=records)


def _folds(stage: _Stage, settings: FinalSettings) -> list[Dataset]:
    """Return the data set of each fold of test days.

    A later fold is trained on the test days of earlier ones, so that they are open from here on.
    """
    data, config = stage.search.data, stage.search.finalist.cell.data
    if data.n_folds == 1:
        return [data]
    _open_test(stage.folder)
    imported = settings.results / "data"
    return [
        build_dataset(config, import_folder=imported, fold=fold) for fold in range(data.n_folds)
    ]


def _open_test(folder: Path) -> str:
    """Return when test labels were first read for this cell; it is written before they are read."""
    file = folder / TEST_OPENED_FILE
    if not file.exists():
        write_text(file, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
    return file.read_text(encoding="utf-8").strip()


def _export(finalist: Finalist, runs: WinnerRuns, folder: Path) -> None:
    best = runs.plan.best(runs.usable)
    data = runs.plan.folds[runs.plan.fold_of(best.number)]
    state = CheckpointFolder(runs.folder / best.folder / CHECKPOINTS_FOLDER).load_best()
    export_model(
        folder,
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
                "last_training_day": str(data.dates[data.train_days[-1]]),
                "commit": commit(),
            },
            weights=state["weights"],
        ),
    )


def _record(
    search: SearchedCell, selection: Selection, runs: WinnerRuns, opened: str
) -> FinalRecord:
    finalist, trial, data = search.finalist, selection.best.trial, search.data
    cell = finalist.cell
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
        search_number=cell.search_number,
        winner=trial.number,
        params=trial.params,
        param_count=trial.param_count,
        search_value=trial.value,
        selection=[_selection_record(candidate) for candidate in selection.candidates],
        runs=[
            _run_record(record, fold=runs.plan.fold_of(record.number)) for record in runs.records
        ],
        folds=[_fold_record(data) for data in runs.plan.folds] if data.n_folds > 1 else [],
        splits=search.described["splits"],
        search=search.end,
        edges=edges(trial.params, finalist.ranges),
        differences=list(search.differences),
        test_opened=opened,
        with_validation=not runs.plan.holds_out_validation,
    )


def _fold_record(data: Dataset) -> FoldRecord:
    validation, test = data.splits["validation"], data.splits["test"]
    # A refit has learnt from the validation days too, of which the summary of a part knows nothing.
    days = data.dates[data.train_days]
    return FoldRecord(
        first_train_day=str(days[0]),
        last_train_day=str(days[-1]),
        n_train=len(days),
        base_rate=data.base_rate,
        n_validation=validation.rows,
        first_test_day=test.first_day,
        last_test_day=test.last_day,
        n_test=test.rows,
    )


def _run_record(record: TrialRecord, *, fold: int) -> RunRecord:
    return RunRecord(
        seed=record.seed,
        trial_id=record.trial_id,
        reason=record.reason,
        value=record.value,
        is_rankable=record.is_rankable,
        best_epoch=record.best and record.best.epoch,
        epochs_trained=record.epochs_trained,
        seconds=record.duration_seconds,
        fold=fold,
    )


def _selection_record(candidate: Candidate) -> SelectionRecord:
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
