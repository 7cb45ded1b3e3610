"""The scheduler writes epochs into the ledger and stops trials, without a cluster."""

from pathlib import Path

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from study.search.assignment import Assignment
from study.tuner.trainable import StepResult
from tests.results.conftest import full_disk
from tests.search.simulated_search import (
    known,
    new_ledger,
    reopened,
    report,
)
from tests.tuner.ledger_run import TWO, Run, run_of


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(tmp_path / "cell", new_ledger(tmp_path / "cell", TWO))


def test_what_ray_reports_of_an_end_changes_nothing(run: Run) -> None:
    trial = run.trial()
    before = known(run.ledger)
    run.searcher.on_trial_complete("ray's own", None, error=True)
    run.scheduler.on_trial_complete(None, trial, {})
    assert known(run.ledger) == before


def test_an_epoch_that_cannot_be_written_down_is_repeated_after_a_restart(run: Run) -> None:
    trial = run.trial()
    assert run.epoch(trial, 1) == TrialScheduler.CONTINUE
    with full_disk(run.journal_bytes + 10):
        assert run.epoch(trial, 2) == TrialScheduler.STOP
    assert run.stop.is_fault
    assert run.searcher.suggest("id") == Searcher.FINISHED
    assert len(run.ledger.epochs(0)) == 1

    resumed = run_of(run.folder, reopened(run.folder, TWO))
    again = resumed.trial()
    assert again.config == trial.config
    assert [resumed.epoch(again, epoch) for epoch in (2, 3)] == [TrialScheduler.CONTINUE] * 2
    assert [each.epoch for each in resumed.ledger.epochs(0)] == [1, 2, 3]


def test_a_search_that_is_to_end_takes_its_last_epochs_in(run: Run) -> None:
    trial = run.trial()
    run.stop.request("Ctrl+C", is_fault=False)
    assert run.searcher.suggest("id") == Searcher.FINISHED
    assert run.epoch(trial, 1) == TrialScheduler.STOP
    assert len(run.ledger.epochs(0)) == 1
    assert run.ledger.record(0) is None


def test_a_paused_trial_has_not_ended(run: Run) -> None:
    trial = run.trial()
    paused = StepResult(report=None, is_paused=True, problem=None)
    assert run.decide(trial, paused) == TrialScheduler.STOP
    assert (run.ledger.epochs(0), run.ledger.record(0)) == ([], None)
    # This process did not request the pause, so someone else made the stop file.
    assert run.stop.is_requested
    assert not run.stop.is_fault


def test_what_stops_one_trial_from_saving_stops_all(run: Run) -> None:
    trial = run.trial()
    problem = StepResult(report=None, is_paused=True, problem="cell: no space")
    assert run.decide(trial, problem) == TrialScheduler.STOP
    assert (run.stop.reason, run.stop.is_fault) == ("cell: no space", True)


def test_a_trial_older_than_its_report_saves_itself_before_the_search_ends(run: Run) -> None:
    trial = run.trial()
    unsaved = StepResult(
        report=report(Assignment.from_flat(trial.config), 1),
        is_paused=False,
        problem=None,
        is_saved=False,
    )
    run.stop.request("Ctrl+C", is_fault=False)
    # The worker sees the file before its next step.
    assert run.decide(trial, unsaved) == TrialScheduler.CONTINUE
    assert len(run.ledger.epochs(0)) == 1
    paused = StepResult(report=None, is_paused=True, problem=None)
    assert run.decide(trial, paused) == TrialScheduler.STOP

    run.stop.file.unlink()
    # Without it, as on a full disk, the trial would go on for ever.
    assert run.decide(trial, unsaved) == TrialScheduler.STOP
