import dataclasses
import io

import pytest
from rich.console import Console

from study.results.records import BaselineRecord, Metric, PanelBaselineRecord
from study.terminal.progress import Progress
from study.text.short_forms import duration
from tests.results.conftest import PARAMS, record
from tests.results.reports import OF_HEADS, epoch_record, panel_best, panel_validation

BASELINE = BaselineRecord(name="logistic", log_loss=0.6, log_loss_se=0.01, auc=0.7, skill=0.1)
REPORT = epoch_record(1, loss=0.65, train_loss=0.7)


def progress(*, terminal: bool) -> tuple[Progress, io.StringIO, list[str]]:
    stream, log = io.StringIO(), list[str]()
    console = Console(file=stream, force_terminal=terminal, width=80)
    return (
        Progress(console, log.append, total=3, slots=1, baseline=BASELINE, metric="log_loss"),
        stream,
        log,
    )


def events(shown: Progress) -> None:
    shown.start([], None)
    shown.trial_started(
        0, PARAMS, source="forced:widest", param_count=100_000, micro_batch=128, resumed=0
    )
    shown.epoch(0, REPORT)
    shown.trial_ended(record(0), record(0))
    shown.trial_ended(record(1, value=None, reason="error", message="Boom: why"), record(0))
    shown.stop()


def test_piped_output_is_one_unbroken_line_per_event() -> None:
    shown, stream, log = progress(terminal=False)
    events(shown)
    lines = stream.getvalue().splitlines()
    assert lines == log
    assert len(lines) == 4
    assert "d64 L2 h4 ff128 patch 10/5 last, 100,000 parameters" in lines[0]
    assert lines[0].endswith("batch 128 x 2")
    assert "0.5000 at epoch 3, AUC 0.700, completed after 20 of 20 epochs, 10 s" in lines[1]
    assert lines[1].endswith("1/3, best 0.5000 (trial 0), logistic 0.6000")
    assert lines[3] == "trial   1 said: Boom: why"


def test_a_resumed_cell_goes_on_counting() -> None:
    shown, _, log = progress(terminal=False)
    shown.start([record(0)], record(0))
    shown.trial_started(
        1, PARAMS, source="sampled", param_count=100_000, micro_batch=128, resumed=7
    )
    assert log[0].startswith("trial   1 resumes after epoch 7: sampled, d64")
    shown.trial_ended(record(1), record(0))
    shown.trial_ended(record(1), record(0))
    assert "| 2/3, best" in log[1]
    assert "| 2/3, best" in log[2]
    shown.ask_for(6)
    shown.trial_ended(record(2), record(0))
    assert "| 3/6, best" in log[3]


def test_a_trial_that_broke_off_says_what_becomes_of_it() -> None:
    shown, stream, log = progress(terminal=True)
    shown.start([], None)
    for number in (0, 1):
        shown.trial_started(
            number, PARAMS, source="sampled", param_count=1, micro_batch=1, resumed=0
        )
    shown.trial_broke_off(0, "its worker died", is_tried_again=True, log="trial_0000/error.txt")
    shown.trial_broke_off(1, "Boom: why", is_tried_again=False, log="trial_0000/error.txt")
    # A late word of a trial that is not there any more.
    shown.epoch(0, REPORT)
    said = "trial   0 broke off and is tried again: its worker died; see trial_0000/error.txt"
    assert log[2:] == [said]
    shown.stop()
    assert said in stream.getvalue()


def test_the_live_view_gives_the_cursor_back_once() -> None:
    shown, stream, _ = progress(terminal=True)
    shown.start([], None)
    shown.stop()
    shown.stop()
    text = stream.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_a_trial_that_outgrew_the_memory_model_says_so() -> None:
    shown, stream, _ = progress(terminal=False)
    shown.start([], None)
    shown.trial_ended(record(0, peak_memory_bytes=3 * 2**30, granted_memory_bytes=2**30), None)
    assert (
        "used 3.00 GiB, more than the 1.00 GiB that the memory model granted" in stream.getvalue()
    )


def test_a_terminal_has_the_same_lines_and_a_live_view() -> None:
    shown, stream, log = progress(terminal=True)
    events(shown)
    assert all(line in stream.getvalue() for line in log)
    assert "s/epoch" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (7380, "2 h 03 min")],
)
def test_durations_are_said_as_a_person_would(seconds: float, text: str) -> None:
    assert duration(seconds) == text


RIDGE = PanelBaselineRecord(
    name="ridge", rank_ic=0.04, rank_ic_se=0.01, ic=0.02, sharpe=0.5, sharpe_net=0.1
)


@pytest.mark.parametrize(
    ("metric", "first", "end"),
    [
        ("rank_ic", "RankIC +0.0500 at epoch 1", "best RankIC +0.0500 (trial 0), ridge +0.0400"),
        ("ic", "RankIC +0.0500 at epoch 1", "best IC +0.0300 (trial 0), ridge +0.0200"),
        (
            "sharpe",
            "Sharpe +0.6000 before costs, RankIC",
            "best Sharpe +0.6000 (trial 0), ridge +0.5",
        ),
        ("loss", "loss 0.9000, RankIC", "best loss 0.9000 (trial 0), ridge RankIC +0.0400"),
    ],
)
def test_the_best_of_a_panel_is_shown_by_the_score_that_ranks(
    metric: Metric, first: str, end: str
) -> None:
    log: list[str] = []
    shown = Progress(
        Console(file=io.StringIO()), log.append, total=3, slots=1, baseline=RIDGE, metric=metric
    )
    best = dataclasses.replace(record(0), best=panel_best(0.05, **OF_HEADS))
    shown.trial_ended(best, best)
    assert f"ends: {first}" in log[0]
    assert ", other heads: RankIC 1 d +0.0110, 20 d +0.0300, " in log[0]
    assert end in log[0]


def test_a_ratio_that_rises_while_ranks_fall_is_printed_at_the_end_of_its_trial() -> None:
    shown, _, log = progress(terminal=False)
    epochs = [
        epoch_record(e, validation=panel_validation(0.1 - 0.01 * e, sharpe=0.1 * e))
        for e in range(1, 7)
    ]
    shown.trial_ended(record(0), record(0), epochs[:4])
    assert len(log) == 1
    shown.trial_ended(record(0), record(0), epochs)
    assert log[2].startswith(
        "trial   0 conflict: over the last 5 epochs the Sharpe ratio rose from"
    )
