"""Runs the final runs of cells: choose by fresh seeds, train the winner, open the test days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from study.data.data_config import DataConfig
from study.data.data_share import DataShare
from study.data.dataset import Dataset, build_dataset
from study.data.inputs import STANDARDISED
from study.errors import StudyError, require
from study.final.candidates import Candidate, best_trials, candidates, winner
from study.final.export import ExportedModel, export_model
from study.final.finalists import Finalist
from study.final.holdout_predictions import predict_holdout
from study.final.outcomes import FinalOutcome, FinalOutcomes, FinalSettings
from study.final.run_plan import RunPlan, again, plan_runs
from study.final.scored_runs import write_scored_runs
from study.final.searched_cell import SearchedCell, read_searched_cell
from study.final.seed_runs import Place, Stage, Unfinished
from study.final.share_runs import require_trainable, share_plan, shares_left, train_share
from study.interruptions import Interruptions
from study.results.finals.final_records import (
    FinalRecord,
    RunRecord,
    SelectionRecord,
    ShareRecord,
    mean_samples,
    read_final,
    read_share,
    share_folder,
    write_final,
    write_predictions,
)
from study.results.finals.fold_records import FoldRecord
from study.results.provenance import commit, versions
from study.results.records import TrialRecord
from study.search.edges import searched_edges
from study.search.space import TrialConfig
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

_SELECTION_SEED, _RUNS_SEED = 1_000_000, 2_000_000
"""Numbers that are added to a search's seed for the seeds of the selection and of the winner's
runs; a trial of the search has the search's seed plus its own number."""


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
    folder, shares = results / FINAL_FOLDER / name, settings.shares_of(finalist.cell)
    done = _complete_before(folder, settings)
    left = shares_left(folder, shares)
    if done is not None:
        say(f"{name}: complete before{settings.other_seeds(done, folder)}")
    if done is not None and not left:
        return _outcome(folder, done, shares)
    search = read_searched_cell(finalist, results, may_differ=settings.may_differ)
    stage = Stage(
        search=search, folder=folder, results=results, place=place, interruptions=interruptions
    )
    trials = _compared(search, settings) if done is None else [_winner_of(search, done)]
    require_trainable(search, left, trials, results)
    try:
        record = _train_on_all_days(stage, settings, say) if done is None else done
        _train_on_shares(stage, record, left, settings, say)
    except Unfinished as stop:
        outcome = stop.outcome
        return FinalOutcome(
            cell=name, record=None, reason=outcome.stopped, is_fault=outcome.is_fault
        )
    return _outcome(folder, record, shares)


def _outcome(folder: Path, record: FinalRecord, shares: Sequence[DataShare]) -> FinalOutcome:
    """Return the outcome of final runs that have ended, those on shares included.

    Raises:
        StudyError: the runs on a share are those of another winner.
    """
    found: list[ShareRecord] = []
    for share in shares:
        own = read_share(folder, share.name)
        assert own is not None
        require(
            own.winner == record.winner,
            str(share_folder(folder, share.name)),
            f"must hold runs of the winner, trial {record.winner}",
            got=f"those of trial {own.winner}",
            remedy="Move the folder away and repeat the command.",
            error=StudyError,
        )
        found.append(own)
    return FinalOutcome(cell=record.cell, record=record, reason=None, shares=found)


def _winner_of(search: SearchedCell, record: FinalRecord) -> TrialRecord:
    """Return the trial of a search that won.

    Raises:
        StudyError: the search has no such trial.
    """
    found = [trial for trial in search.records if trial.number == record.winner]
    require(
        bool(found),
        str(search.folder),
        f"must have the trial {record.winner}, which has won",
        got=f"{len(search.records)} others",
        remedy="Put the folder of the search back.",
        error=StudyError,
    )
    return found[0]


def _compared(search: SearchedCell, settings: FinalSettings) -> list[TrialRecord]:
    """Return the best trials of the search, of which one is the winner.

    Raises:
        StudyError: none can be ranked.
    """
    return best_trials(search.records, settings.n_candidates, str(search.folder))


def _train_on_all_days(
    stage: Stage, settings: FinalSettings, say: Callable[[str], None]
) -> FinalRecord:
    """Choose the winner, train it, and open the test days.

    Raises:
        Unfinished: training was stopped.
    """
    search, folder, results = stage.search, stage.folder, stage.results
    selection = _select(stage, settings, say)
    runs = _train_winner(stage, selection.best, settings, say)
    opened = _open_test(folder)
    say(f"{search.finalist.name}: the choice is made; test labels are read since {opened}")
    answers = predict_holdout(search, runs.plan, runs.usable, runs.folder, results)
    write_predictions(folder / PREDICTIONS_FILE, answers.table)
    write_scored_runs(
        search.finalist.cell, runs.folder, runs.records, answers.of_runs, search.data.fingerprint,
        results, n_folds=len(runs.plan.folds),
    )  # fmt: skip
    if runs.usable:
        _export(search.finalist, runs, folder / MODEL_FOLDER)
    record = _record(search, selection, runs, opened)
    write_final(folder, record)
    return record


def _train_on_shares(
    stage: Stage,
    record: FinalRecord,
    shares: Sequence[DataShare],
    settings: FinalSettings,
    say: Callable[[str], None],
) -> None:
    """Train the winner of the final runs on shares of the training days too, the smallest first.

    Raises:
        Unfinished: training was stopped.
    """
    search = stage.search
    best = Candidate(trial=_winner_of(search, record), again=(), n_asked=0)
    # A fold that cannot be trained on is refused before the first run on a share.
    plans = {share: share_plan(search, best, share, stage.results) for share in shares}
    for share, plan in plans.items():
        samples = mean_samples([len(data.train_days) for data in plan.folds])
        say(
            f"{record.cell}: trial {record.winner} is trained on {share.share:.4g} of the training "
            f"days ({share.choice}), {samples:,} samples, with {settings.n_seeds} seeds"
        )
        train_share(
            stage, plan, share, winner=record.winner, n_seeds=settings.n_seeds, seed=_RUNS_SEED
        )


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


def _select(stage: Stage, settings: FinalSettings, say: Callable[[str], None]) -> Selection:
    """Train the best trials of the search with fresh seeds and choose among them.

    Raises:
        StudyError: no trial is usable, or no configuration with every seed.
        Unfinished: training was stopped.
    """
    search, n_seeds = stage.search, settings.n_selection_seeds
    chosen = _compared(search, settings)
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
    stage: Stage, best: Candidate, settings: FinalSettings, say: Callable[[str], None]
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


def _folds(stage: Stage, settings: FinalSettings) -> list[Dataset]:
    """Return the data set of each fold of test days.

    A later fold is trained on the test days of earlier ones, so that they are open from here on.
    """
    data, config = stage.search.data, stage.search.finalist.cell.data
    if data.n_folds == 1:
        return [data.without_search_folds]
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
            RunRecord.of(record, fold=runs.plan.fold_of(record.number)) for record in runs.records
        ],
        folds=[_fold_record(data, cell.data) for data in runs.plan.folds]
        if data.n_folds > 1
        else [],
        splits=search.described["splits"],
        search=search.end,
        edges=searched_edges(trial.params, finalist.ranges, search.described, search.records),
        differences=list(search.differences),
        test_opened=opened,
        with_validation=not runs.plan.holds_out_validation,
    )


def _fold_record(data: Dataset, config: DataConfig) -> FoldRecord:
    validation, test = data.splits["validation"], data.splits["test"]
    # A refit has learnt from the validation days too, of which the summary of a part knows nothing.
    days = data.dates[data.train_days]
    moved_most = max(data.shift, key=lambda name: abs(data.shift[name]))
    return FoldRecord(
        first_train_day=str(days[0]),
        last_train_day=str(days[-1]),
        n_train=len(days),
        base_rate=data.base_rate,
        n_validation=validation.rows,
        first_test_day=test.first_day,
        last_test_day=test.last_day,
        n_test=test.rows,
        train_positives=int(data.labels[data.train_days].sum()),
        first_validation_day=validation.first_day,
        last_validation_day=validation.last_day,
        validation_positives=validation.positives,
        test_positives=test.positives,
        largest_shift=data.shift[moved_most],
        largest_shift_input=moved_most,
        max_shift=config.max_shift if config.normalization in STANDARDISED else None,
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
