"""The ledger, played without Ray: trials advance in any order and the process dies at any event."""

import contextlib
import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.results.journal import Journal, JournalError
from study.results.records import TrialRecord
from study.search.assignment import Assignment
from study.search.forced import forced_configurations
from study.search.ledger import Ledger
from study.search.space import SearchSpace, build_space
from study.spec import SearchConfig, load_study

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
CELL = load_study(SPACES / "smoke.yaml").cell("50k", 1, data={}, search={})
SPACE: SearchSpace = build_space(CELL, n_features=25)
SEARCH = SearchConfig(
    trials=12, seed=3, startup_trials=3, grace_share=0.25, reduction_factor=2, forced="extremes6"
)
EPOCHS = 4


class Killed(Exception):
    pass


class Mortal(Journal):
    """A journal whose process is killed after some appends: before, or in the middle of a line."""

    lives: int = 10**9

    def append(self, event: dict[str, Any]) -> None:
        if self.lives <= 0:
            raise Killed
        self.lives -= 1
        super().append(event)


def new_ledger(folder: Path, search: SearchConfig = SEARCH) -> Ledger:
    folder.mkdir(exist_ok=True)
    return ledger_of(Journal.create(folder, "abcd", {"kind": "created", "time": 0.0}), search)


def ledger_of(journal: Journal, search: SearchConfig = SEARCH) -> Ledger:
    forced = forced_configurations(SPACE, search.forced)
    ledger = Ledger(journal, space=SPACE, forced=forced, search=search, granted_bytes=1)
    ledger.finish_due()
    return ledger


def reopened(folder: Path, search: SearchConfig = SEARCH) -> Ledger:
    return ledger_of(Journal.open(folder, witness=None), search)


def report(assignment: Assignment, epoch: int) -> dict[str, Any]:
    """Return what training brings: it depends on the trial and the epoch alone."""
    draw = random.Random(assignment.number)
    level, slope = draw.uniform(0.4, 0.6), draw.uniform(0.0, 0.02)
    losses = [level - slope * e for e in range(1, epoch + 1)]
    is_last = epoch == EPOCHS
    diverges = assignment.number % 7 == 5
    values: dict[str, Any] = {
        "epoch": epoch,
        "schedule_percent": 100 * epoch // EPOCHS,
        "stop_reason": "diverged" if diverges else "completed" if is_last else None,
        "best_validation_loss": None if diverges else losses[-1],
        "best_is_collapsed": assignment.number % 7 == 4,
        "best_skill": 0.1,
        "logit_sd": 0.2,
        "data_seconds": 0.1, "step_seconds": 1.0, "validation_seconds": 0.1,
        "checkpoint_seconds": 0.1, "micro_batch": 64, "began": 1.0, "reported": float(epoch),
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


def play(ledger: Ledger, order: random.Random, slots: int, saved: dict[int, int]) -> None:
    """Advance running trials in random order. ``saved`` is the disk: checkpoints by trial."""
    running: dict[int, Assignment] = {}
    while not ledger.is_complete:
        while len(running) < slots and (assignment := ledger.next()) is not None:
            assert assignment.number not in running
            running[assignment.number] = assignment
        number = order.choice(sorted(running))
        epoch = saved.get(number, 0)
        if (epoch and epoch == len(ledger.epochs(number))) or not epoch:
            epoch += 1
        # A checkpoint comes before its report, and a restored one is reported again.
        saved[number] = epoch
        if ledger.epoch(number, report(running[number], epoch)):
            del running[number]


def known(ledger: Ledger) -> dict[str, Any]:
    """Return everything that must survive."""
    return {
        "records": [untimed(record) for record in ledger.records],
        "rungs": ledger.rungs(),
        "history": ledger.history(),
        "assignments": [ledger.assignment(n) for n in ledger.numbers],
        "epochs": [ledger.epochs(n) for n in ledger.numbers],
    }


def untimed(record: TrialRecord) -> TrialRecord:
    return dataclasses.replace(record, started=0.0, ended=0.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    ledger = new_ledger(tmp_path_factory.mktemp("undisturbed") / "cell")
    play(ledger, random.Random(0), 1, {})
    return known(ledger)


def test_an_undisturbed_search_has_every_kind_of_end(undisturbed: dict[str, Any]) -> None:
    reasons = {record.reason for record in undisturbed["records"]}
    assert reasons == {"completed", "asha", "collapsed", "diverged"}
    assert [record.number for record in undisturbed["records"]] == list(range(12))
    sources = [a.source.split(":")[0] for a in undisturbed["assignments"]]
    assert sources == ["forced"] * 6 + ["sampled"] * 6
    assert len({a.config for a in undisturbed["assignments"]}) == 12


@settings(max_examples=12, deadline=None)
@given(lives=st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_a_search_killed_at_any_event_is_the_search_that_was_not(
    tmp_path_factory: pytest.TempPathFactory, undisturbed: dict[str, Any], lives: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("killed") / "cell"
    new_ledger(folder)
    saved: dict[int, int] = {}
    for life in lives:
        journal = Mortal.open(folder, witness=None)
        assert isinstance(journal, Mortal)
        journal.lives = life
        with contextlib.suppress(Killed):
            play(ledger_of(journal), random.Random(0), 1, saved)
        # Killed in the middle of a line.
        with (folder / "journal.jsonl").open("a") as file:
            file.write('{"search": "abcd", "index": 99, "ha')
    ledger = reopened(folder)
    play(ledger, random.Random(0), 1, saved)
    assert known(ledger) == undisturbed
    assert known(reopened(folder)) == undisturbed


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), lives=st.lists(st.integers(0, 30), max_size=6))
def test_trials_side_by_side_are_asked_and_ended_once_each(
    tmp_path_factory: pytest.TempPathFactory, seed: int, lives: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("side") / "cell"
    new_ledger(folder)
    saved: dict[int, int] = {}
    order = random.Random(seed)
    before: list[TrialRecord] = []
    for life in [*lives, 10**9]:
        journal = Mortal.open(folder, witness=None)
        assert isinstance(journal, Mortal)
        journal.lives = life
        with contextlib.suppress(Killed):
            play(ledger_of(journal), order, 3, saved)
        again = reopened(folder)
        by_number = {record.number: record for record in again.records}
        assert all(by_number[record.number] == record for record in before)
        before = again.records
    assert [record.number for record in before] == list(range(12))
    for number in again.numbers:
        epochs = [each["epoch"] for each in again.epochs(number)]
        assert epochs == list(range(1, len(epochs) + 1))


def test_a_repeated_report_changes_nothing(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    first = ledger.next()
    assert first is not None
    ledger.epoch(0, report(first, 1))
    before = known(ledger)
    assert not ledger.epoch(0, {**report(first, 1), "best_validation_loss": 0.1})
    assert known(ledger) == before


def test_an_epoch_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    first = ledger.next()
    assert first is not None
    with pytest.raises(JournalError, match="epochs must follow each other, but got 3 after 0"):
        ledger.epoch(0, report(first, 3))
