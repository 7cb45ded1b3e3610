"""Runs the final runs of cells: choose by fresh seeds, train the winner, open the test days."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from study.data.data_share import DataShare
from study.errors import StudyError, require
from study.final.answers.holdout_predictions import predict_holdout
from study.final.answers.panel_answers import predict_panel
from study.final.answers.scored_runs import panel_test_scores, test_scores, write_scored_runs
from study.final.candidates import Candidate, best_trials, candidates, winner
from study.final.cell_record import Selection, WinnerRuns, final_record
from study.final.export import ExportedModel, export_model, origin_of, scaler_of
from study.final.finalists import Finalist
from study.final.outcomes import FinalOutcome, FinalOutcomes, FinalSettings
from study.final.run_plan import again, plan_runs
from study.final.searched_cell import SearchedCell, read_searched_cell
from study.final.seed_runs import Place, Stage, Unfinished
from study.final.share_runs import require_trainable, share_plan, shares_left, train_share
from study.final.variant_runs import (
    differing,
    require_batches,
    train_variant,
    variant_plan,
    variants_left,
)
from study.interruptions import Interruptions
from study.planning.cell_series import AnyDataset, build_data
from study.results.finals.final_records import (
    FinalRecord,
    ShareRecord,
    mean_samples,
    read_final,
    read_share,
    share_folder,
    write_final,
    write_predictions,
)
from study.results.finals.panel_predictions import write_panel_predictions
from study.results.finals.variant_records import VariantRecord, read_variant, variant_folder
from study.results.provenance import commit
from study.results.records import TrialRecord, shown_objective
from study.results.scores import HoldoutScores, PanelHoldoutScores
from study.search.space import TrialConfig
from study.spec.variants import Variant
from study.storage.files import write_text
from study.storage.layout import (
    CHECKPOINTS_FOLDER,
    FINAL_FOLDER,
    MODEL_FOLDER,
    PREDICTIONS_FILE,
    SELECTION_FOLDER,
    TEST_OPENED_FILE,
)
from study.text.short_forms import counted
from study.training.checkpoint import CheckpointFolder

_SELECTION_SEED, _RUNS_SEED = 1_000_000, 2_000_000
"""Numbers that are added to a search's seed for the seeds of the selection and of the winner's
runs; a trial of the search has the search's seed plus its own number."""


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
        for refused in outcome.refused:
            problems.append(str(refused))
            report(str(refused))
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
    if done is not None and not left and not _variants_to_train(folder, done, settings):
        return _outcome(folder, done, settings, shares)
    search = read_searched_cell(finalist, results, may_differ=settings.may_differ)
    stage = Stage(
        search=search, folder=folder, results=results, place=place, interruptions=interruptions
    )
    trials = _compared(search, settings) if done is None else [_winner_of(search, done)]
    require_trainable(search, left, trials, results)
    require_batches(search, settings.variants)
    try:
        record = _train_on_all_days(stage, settings, say) if done is None else done
        _train_on_shares(stage, record, left, settings, say)
        _train_variants(stage, record, settings, say)
    except Unfinished as stop:
        outcome = stop.outcome
        return FinalOutcome(
            cell=name, record=None, reason=outcome.stopped, is_fault=outcome.is_fault
        )
    return _outcome(folder, record, settings, shares)


def _variants_to_train(folder: Path, record: FinalRecord, settings: FinalSettings) -> list[Variant]:
    """Return the variants that a winner can be compared with, whose runs have not ended yet."""
    return variants_left(folder, differing(record, settings.variants)[0])


def _outcome(
    folder: Path, record: FinalRecord, settings: FinalSettings, shares: Sequence[DataShare]
) -> FinalOutcome:
    """Return the outcome of final runs that have ended, those on shares and variants included.

    Raises:
        StudyError: the runs on a share or of a variant are those of another winner.
    """
    found: list[ShareRecord] = []
    for share in shares:
        of_share = read_share(folder, share.name)
        assert of_share is not None
        _require_of_winner(of_share, record, share_folder(folder, share.name))
        found.append(of_share)
    variants: list[VariantRecord] = []
    comparable, refused = differing(record, settings.variants)
    for variant in comparable:
        of_variant = read_variant(folder, variant.name)
        assert of_variant is not None
        _require_of_winner(of_variant, record, variant_folder(folder, variant.name))
        variants.append(of_variant)
    return FinalOutcome(
        cell=record.cell, record=record, reason=None, shares=found, variants=variants,
        refused=refused,
    )  # fmt: skip


def _require_of_winner(
    found: ShareRecord | VariantRecord, record: FinalRecord, folder: Path
) -> None:
    """Refuse runs that are those of another winner.

    Raises:
        StudyError: they are.
    """
    require(
        found.winner == record.winner,
        str(folder),
        f"must hold runs of the winner, trial {record.winner}",
        got=f"those of trial {found.winner}",
        remedy="Move the folder away and repeat the command.",
        error=StudyError,
    )


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
    of_runs = _answer(search, runs, folder / PREDICTIONS_FILE, results)
    write_scored_runs(
        search.finalist.cell, runs.folder, runs.records, of_runs, search.data.fingerprint,
        results, n_folds=len(runs.plan.folds),
    )  # fmt: skip
    if runs.usable:
        _export(search.finalist, runs, folder / MODEL_FOLDER)
    record = final_record(search, selection, runs, opened)
    write_final(folder, record)
    return record


def _answer(
    search: SearchedCell, runs: WinnerRuns, file: Path, results: Path
) -> Mapping[str, HoldoutScores | PanelHoldoutScores]:
    """Write what runs and baselines answer on the days that were held out.

    Returns: the scores of each usable run on the test days of its fold, by trial id.
    """
    if search.finalist.cell.data.is_panel:
        ranked = predict_panel(search, runs.plan, runs.usable, runs.folder, results)
        write_panel_predictions(file, list(ranked.tables))
        return {trial_id: panel_test_scores(rows) for trial_id, rows in ranked.of_runs.items()}
    answers = predict_holdout(search, runs.plan, runs.usable, runs.folder, results)
    write_predictions(file, answers.table)
    return {trial_id: test_scores(table) for trial_id, table in answers.of_runs.items()}


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


def _train_variants(
    stage: Stage, record: FinalRecord, settings: FinalSettings, say: Callable[[str], None]
) -> None:
    """Train the winner of the final runs with one setting changed too, as often as it was.

    Raises:
        Unfinished: training was stopped.
    """
    left = _variants_to_train(stage.folder, record, settings)
    if not left:
        return
    best = Candidate(trial=_winner_of(stage.search, record), again=(), n_asked=0)
    folds = _folds(stage, settings)
    for variant in left:
        plan = variant_plan(stage.search, best, variant, folds)
        say(
            f"{record.cell}: trial {record.winner} is trained with {variant.name}, and the "
            f"{counted(record.n_seeds, 'seed')} of its final runs"
        )
        train_variant(stage, plan, variant, record, seed=_RUNS_SEED)


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
        f"trained again, with {counted(n_seeds, 'fresh seed')} each"
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
    metric = stage.search.finalist.cell.search.metric
    fresh, searched = best.mean_value, best.trial.value
    assert fresh is not None
    assert searched is not None
    learnt = ", on the validation days too, whose scores below say nothing"
    say(
        f"{stage.search.finalist.name}: trial {best.trial.number} wins with "
        f"{shown_objective(fresh, metric)} (in the search {shown_objective(searched, metric)}); "
        f"it is trained with {counted(settings.n_seeds, 'more seed')}"
        f"{learnt if settings.with_validation else ''}"
    )
    folds = _folds(stage, settings)
    plan = plan_runs(stage.search, best, folds, with_validation=settings.with_validation)
    folder = stage.folder / plan.folder
    given = plan.given(settings.n_seeds)
    records = stage.train(given, folder, seed=_RUNS_SEED, folds=plan.folds, space=plan.space)
    return WinnerRuns(plan=plan, folder=folder, records=records)


def _folds(stage: Stage, settings: FinalSettings) -> list[AnyDataset]:
    """Return the data set of each fold of test days.

    A later fold is trained on the test days of earlier ones, so that they are open from here on.
    """
    data, config = stage.search.data, stage.search.finalist.cell.data
    if data.n_folds == 1:
        return [data.without_search_folds]
    _open_test(stage.folder)
    return [build_data(config, settings.results, fold=fold) for fold in range(data.n_folds)]


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
            scaler=scaler_of(data),
            feature_hash=data.feature_hash,
            origin={
                "trial_id": best.trial_id,
                "seed": best.seed,
                "validation_loss": best.value,
                **origin_of(data),
                "commit": commit(),
            },
            weights=state["weights"],
        ),
    )
