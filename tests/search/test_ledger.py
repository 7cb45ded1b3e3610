"""The ledger without Ray: trials advance in any order, and the process dies at any event."""

import contextlib
import copy
import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.results.journal import Journal, JournalError
from study.results.records import TrialRecord
from study.results.scores import Validation
from study.search.forced import first_configurations
from study.search.known.earlier_trials import TrialToRepeat
from study.search.ledger import Ledger
from study.spec.dimension import Choice, Dimension
from study.spec.specification import Cell
from tests.results.reports import best_epoch, validation
from tests.search.simulated_search import (
    CELL,
    SEARCH,
    SPACE,
    known,
    ledger_of,
    new_ledger,
    play,
    reopened,
    report,
)


class Killed(Exception):
    pass


class Mortal(Journal):
    """A journal whose process is killed after some appends, before a line or within one."""

    lives: int = 10**9

    def append(self, event: dict[str, Any]) -> None:
        if self.lives <= 0:
            raise Killed
        self.lives -= 1
        super().append(event)


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


@pytest.mark.slow
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


@pytest.mark.slow
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
        epochs = [each.epoch for each in again.epochs(number)]
        assert epochs == list(range(1, len(epochs) + 1))


def test_a_repeated_report_changes_nothing(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    first = ledger.next()
    assert first is not None
    ledger.epoch(0, report(first, 1))
    before = copy.deepcopy(known(ledger))
    repeated = dataclasses.replace(
        report(first, 1, worker={"checkpoint_seconds": None}), best=best_epoch(0.1)
    )
    assert not ledger.epoch(0, repeated)
    assert known(ledger) == before


def test_an_epoch_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    first = ledger.next()
    assert first is not None
    with pytest.raises(JournalError, match="epochs must follow each other, but got 3 after 0"):
        ledger.epoch(0, report(first, 3))


def test_what_may_pass_is_tried_again_and_counts_anew_after_an_epoch(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    first = ledger.next()
    assert first is not None
    for _ in range(2):
        assert ledger.fault(0, "worker", "it died", micro_batch=64)
        assert ledger.next() == first
    ledger.epoch(0, report(first, 1))
    # A shortage of memory does not count among the retries after the death of a worker.
    assert ledger.fault(0, "memory", "the machine ran low", micro_batch=64)
    again = ledger.next()
    assert again is not None
    assert again.micro_batch_limit == 32
    assert ledger.fault(0, "stall", "no step", micro_batch=32)
    assert ledger.fault(0, "worker", "it died", micro_batch=32)
    # A restart loses none of it.
    ledger = reopened(tmp_path / "cell")
    assert ledger.next() == again
    assert not ledger.fault(0, "worker", "it died", micro_batch=32)
    record = ledger.record(0)
    assert record is not None
    best = ledger.epochs(0)[-1].best
    assert best is not None
    assert (record.reason, record.value) == ("error", best.loss)
    assert not record.is_rankable
    assert record.message == "it died (tried again 2 times without one more epoch)"
    assert [fault.split(":")[0] for fault in record.faults] == [
        "worker", "worker", "memory", "stall", "worker",
    ]  # fmt: skip


def test_memory_that_runs_out_halves_the_micro_batch_down_to_one_sample(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    assignment, micro_batch = ledger.next(), 6
    limits = []
    while ledger.fault(0, "memory", "the machine ran low", micro_batch=micro_batch):
        assignment = ledger.next()
        assert assignment is not None
        assert assignment.micro_batch_limit is not None
        micro_batch = assignment.micro_batch_limit
        limits.append(micro_batch)
    assert limits == [3, 2, 1]
    record = ledger.record(0)
    assert record is not None
    assert (record.reason, record.state, record.value) == ("oom", "FAIL", None)
    assert record.message is not None
    assert record.message.startswith("the machine ran low. In full, one sample at a time")
    assert record.message.endswith("train.memory: lean needs less")


@pytest.mark.parametrize(
    ("train", "networks", "why"),
    [
        ({"optimizer": Choice(("adamw", "adabelief"))}, 1, "has train.optimizer: adabelief"),
        ({}, 5, "this search has 5"),
    ],
    ids=str,
)
def test_lean_is_not_recommended_where_it_is_refused(
    tmp_path: Path, train: dict[str, Dimension], networks: int, why: str
) -> None:
    space = dataclasses.replace(SPACE, train={**SPACE.train, **train})
    journal = Journal.create(tmp_path, "abcd", {"kind": "created", "time": 0.0})
    ledger = Ledger(
        journal, space=space, forced=(), search=SEARCH, granted_bytes={}, networks=networks
    )
    ledger.next()
    ledger.fault(0, "oom", "why", micro_batch=1)
    record = ledger.record(0)
    assert record is not None
    assert "train.memory: lean would need less, but" in str(record.message)
    assert why in str(record.message)


@pytest.mark.parametrize("kind", ["error", "oom"])
def test_what_would_come_again_is_not_tried_again(tmp_path: Path, kind: Any) -> None:
    ledger = new_ledger(tmp_path / "cell")
    ledger.next()
    assert not ledger.fault(0, kind, "why", micro_batch=64)
    record = ledger.record(0)
    assert record is not None
    assert (record.reason, record.faults) == (kind, [])
    assert str(record.message).partition(".")[0] == "why"


def test_a_course_run_again_that_ends_sooner_ends_the_trial(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    first = ledger.next()
    assert first is not None
    for epoch in (1, 2, 3):
        ledger.epoch(0, report(first, epoch))
    # On an accelerator the second run of epoch 2 may differ from the first. The best weights are
    # then those of the second run.
    found = validation(0.3)
    again = report(first, 2)
    ending = dataclasses.replace(
        again, stop_reason="early_stopping", validation=found, best=best_epoch(0.3, epoch=2)
    )
    assert ledger.epoch(0, ending)
    for known_again in (ledger, reopened(tmp_path / "cell")):
        record = known_again.record(0)
        assert record is not None
        assert (record.reason, record.epochs_trained) == ("early_stopping", 2)
        assert (record.value, record.best and record.best.epoch) == (0.3, 2)
        last = known_again.epochs(0)[-1]
        assert (last.validation, last.replays) == (found, 1)


def test_epochs_that_are_trained_again_keep_their_first_results_and_are_marked(
    tmp_path: Path,
) -> None:
    ledger = new_ledger(tmp_path / "cell")
    first = ledger.next()
    assert first is not None
    for epoch in (1, 2, 3):
        ledger.epoch(0, report(first, epoch))
    before = copy.deepcopy(known(ledger))
    for times in (1, 2):
        for epoch in (2, 3):
            again = report(first, epoch)
            assert isinstance(again.validation, Validation)
            loss = again.validation.loss + 1e-6 * (epoch == 3) / times
            assert not ledger.epoch(
                0, dataclasses.replace(again, validation=validation(loss), step_seconds=9.0)
            )
    for known_again in (ledger, reopened(tmp_path / "cell")):
        now = known(known_again)
        assert (now["rungs"], now["history"]) == (before["rungs"], before["history"])
        epochs = now["epochs"][0]
        assert [each.replays for each in epochs] == [None, 2, 2]
        assert [each.replay_difference for each in epochs] == [None, 0.0, pytest.approx(1e-6)]
        unmarked = [
            dataclasses.replace(each, replays=None, replay_difference=None) for each in epochs
        ]
        assert unmarked == before["epochs"][0]
    assert not ledger.epoch(0, report(first, 4, of=5))
    assert ledger.epochs(0)[-1].replays is None


def test_a_trial_that_dies_while_it_trains_again_has_not_come_further(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    first = ledger.next()
    assert first is not None
    for epoch in (1, 2):
        ledger.epoch(0, report(first, epoch))
    for is_tried_again in (True, True, False):
        assert ledger.fault(0, "worker", "it died", micro_batch=64) is is_tried_again
        if is_tried_again:
            ledger.epoch(0, report(first, 1))


@pytest.mark.parametrize("begun", [4, 5, 8, 11])
def test_a_search_asked_for_more_trials_is_the_one_that_was_begun_with_them(
    tmp_path: Path, undisturbed: dict[str, Any], begun: int
) -> None:
    folder, saved = tmp_path / "cell", dict[int, int]()
    search = dataclasses.replace(SEARCH, trials=begun)
    ledger = new_ledger(folder, search)
    play(ledger, random.Random(0), 1, saved)
    assert ledger.is_complete
    ledger.extend(SEARCH.trials)
    assert not ledger.is_complete
    # Killed before the first of the new trials.
    ledger = reopened(folder, search)
    play(ledger, random.Random(0), 1, saved)
    assert known(ledger) == undisturbed
    assert known(reopened(folder, search)) == undisturbed


def test_a_search_begun_without_rungs_goes_on_without_them(tmp_path: Path) -> None:
    # With fewer than two trials per survivor ASHA is not used.
    ledger = new_ledger(tmp_path / "cell", dataclasses.replace(SEARCH, trials=3))
    play(ledger, random.Random(0), 1, {})
    ledger.extend(SEARCH.trials)
    play(ledger, random.Random(0), 1, {})
    assert len(ledger.records) == SEARCH.trials
    assert {record.reason for record in ledger.records} == {"completed", "collapsed", "diverged"}


def test_extremes_that_waited_are_tried_once_the_search_has_room_for_all(tmp_path: Path) -> None:
    few = dataclasses.replace(CELL, search=dataclasses.replace(SEARCH, trials=8))
    many = dataclasses.replace(CELL, search=dataclasses.replace(SEARCH, trials=20))

    def ledger_for(journal: Journal, cell: Cell) -> Ledger:
        first = first_configurations(SPACE, cell)
        return Ledger(journal, space=SPACE, forced=first, search=few.search, granted_bytes={})

    def sources(ledger: Ledger) -> list[str]:
        return [ledger.assignment(number).source.split(":")[0] for number in ledger.numbers]

    journal = Journal.create(tmp_path, "abcd", {"kind": "created", "time": 0.0})
    ledger = ledger_for(journal, few)
    play(ledger, random.Random(0), 1, {})
    assert sources(ledger) == ["forced"] * 2 + ["sampled"] * 6
    ledger = ledger_for(Journal.open(tmp_path, witness=None), many)
    ledger.extend(20)
    play(ledger, random.Random(0), 1, {})
    assert sources(ledger)[8:] == ["forced"] * 4 + ["sampled"] * 8
    # The plan of the first command, which asks for eight trials, reads the same journal.
    again = ledger_for(Journal.open(tmp_path, witness=None), few)
    assert known(again) == known(ledger)


def test_more_trials_are_forced_before_imported_ones(tmp_path: Path) -> None:
    folder, search = tmp_path / "cell", dataclasses.replace(SEARCH, trials=4)
    other = SPACE.forced(SPACE.shapes[len(SPACE.shapes) // 2], dropout=0.123)
    ledger = new_ledger(folder, search)
    ledger.learn([], [TrialToRepeat(source="imported:7", params=other.flat())])
    ledger.extend(9)
    play(ledger, random.Random(0), 1, {})
    for each in (ledger, reopened(folder, search)):
        sources = [each.assignment(number).source.split(":")[0] for number in each.numbers]
        assert sources == ["forced"] * 6 + ["imported"] + ["sampled"] * 2
