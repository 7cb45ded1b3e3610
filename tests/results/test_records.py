import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from study.results.records import (
    ADDED_NAMES,
    StopReason,
    TrialRecord,
    objective,
    objective_error,
)
from study.results.store import read_trials
from study.storage.layout import TRIALS_FILE
from tests.results.conftest import record
from tests.results.reports import OF_HEADS, epoch_record, panel_best


@pytest.mark.parametrize(
    ("stopped", "is_collapsed", "reason"),
    [
        ("early_stopping", False, "early_stopping"),
        (None, False, "asha"),
        (None, True, "collapsed"),
        ("completed", True, "collapsed"),
        ("diverged", True, "diverged"),
    ],
)
def test_a_collapsed_best_is_collapsed_whoever_stopped_the_trial(
    stopped: StopReason | None, is_collapsed: bool, reason: str
) -> None:
    report = epoch_record(4, stop_reason=stopped, best_is_collapsed=is_collapsed)
    assert report.end_reason == reason


@pytest.mark.parametrize(
    ("reason", "state", "is_rankable"),
    [
        ("completed", "COMPLETE", True),
        ("early_stopping", "COMPLETE", True),
        ("asha", "PRUNED", True),
        ("collapsed", "FAIL", False),
        ("diverged", "FAIL", False),
        ("oom", "FAIL", False),
        ("stalled", "FAIL", False),
        ("error", "FAIL", False),
    ],
)
def test_what_a_reason_makes_of_a_trial(reason: str, state: str, is_rankable: bool) -> None:
    trial = record(0, reason=reason)
    assert (trial.state, trial.is_rankable) == (state, is_rankable)
    assert not record(0, reason=reason, value=None).is_rankable


def test_only_time_at_work_counts() -> None:
    trial = record(0, seconds={"data": 1.0, "step": 2.5}, started=0.0, ended=9_999.0)
    assert trial.duration_seconds == 3.5
    assert record(0, seconds={}).duration_seconds is None


@pytest.mark.parametrize(
    "changes", [{}, {"loss": None, "loss_se": None, "half_losses": None}, OF_HEADS]
)
def test_a_trial_of_a_panel_comes_back_from_its_row_and_table(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    best = panel_best(0.05, **changes)
    trial = dataclasses.replace(
        record(0), best=best, objective=objective(best, "sharpe"),
        objective_se=objective_error(best, "sharpe"),
    )  # fmt: skip
    assert TrialRecord.from_json(json.loads(json.dumps(trial.to_json()))) == trial
    rows = [{**trial.to_json(), "state": trial.state}]
    (tmp_path / TRIALS_FILE).write_text(json.dumps(rows), encoding="utf-8")
    assert read_trials(tmp_path) == [trial]
    # Rows that were written before trials were compared with boosting lack two names.
    for name in ADDED_NAMES:
        del rows[0][name]
    (tmp_path / TRIALS_FILE).write_text(json.dumps(rows), encoding="utf-8")
    (old,) = read_trials(tmp_path)
    assert old.best == dataclasses.replace(
        best, boosting_difference=None, boosting_difference_se=None
    )
    # An undefined Sharpe ratio is no value by which the trial could be the best.
    assert trial.is_rankable == ("loss" not in changes)
    # A row of one horizon is what it was before there were heads for others.
    assert ("further_rank_ic" in rows[0]) == (changes is OF_HEADS)
