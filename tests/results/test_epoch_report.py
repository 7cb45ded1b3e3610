"""The files of a search recorded before its values had types: what is read is written again."""

import dataclasses
import json
from pathlib import Path

from study.results.epoch_report import EpochRecord, EpochReport
from study.results.records import TrialRecord
from study.results.store import read_trials
from tests.results.reports import OF_HEADS, epoch_record, panel_best, panel_validation

RECORD = Path(__file__).parent / "search_record"


def test_a_line_of_an_epoch_is_written_as_it_was_read() -> None:
    lines = (RECORD / "result.json").read_text().splitlines()
    read = [EpochRecord.from_json(json.loads(line)) for line in lines]
    assert [json.dumps(epoch.to_json()) for epoch in read] == lines
    assert [epoch.stop_reason for epoch in read] == [None, None, None, "completed"]
    last = read[-1]
    assert last.validation is not None
    assert last.best is not None
    assert (last.best.epoch, last.best.loss) == (4, last.validation.loss)


def test_a_row_of_a_trial_is_written_as_it_was_read() -> None:
    rows = json.loads((RECORD / "all_trials.json").read_text())
    trials = [TrialRecord.from_json(row) for row in rows]
    written = [{**trial.to_json(), "state": trial.state} for trial in trials]
    assert json.dumps(written) == json.dumps(rows)
    assert read_trials(RECORD) == trials


def test_a_report_without_scores_comes_back_without_them() -> None:
    broken = epoch_record(3, loss=None, stop_reason="diverged", train_loss=None)
    assert EpochRecord.from_json(json.loads(json.dumps(broken.to_json()))) == broken
    # The epoch diverged, and an earlier one was the best.
    late = dataclasses.replace(epoch_record(3), validation=None, stop_reason="diverged")
    assert EpochRecord.from_json(json.loads(json.dumps(late.to_json()))) == late


def test_a_report_of_a_panel_whose_loss_is_undefined_keeps_its_other_scores() -> None:
    unknown = {"loss": None, "loss_se": None, "half_losses": None, "sharpe": None}
    report = epoch_record(
        1,
        validation=panel_validation(0.0, loss=None, sharpe=None),
        best=panel_best(0.0, **unknown, **OF_HEADS),
    )
    assert EpochRecord.from_json(json.loads(json.dumps(report.to_json()))) == report
    # Its distance from a replay is that of no loss.
    assert report.replayed(report).replay_difference == 0


def test_the_report_of_a_trainer_is_that_of_its_record() -> None:
    record = epoch_record(2)
    report = EpochReport.from_json(record.to_json())
    assert EpochRecord.of(report, record.worker) == record
