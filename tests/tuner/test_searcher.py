"""Where Ray meets the ledger, with Ray's own trials and no cluster."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from study.cluster.resources import SearchResources
from study.interruptions import Stop
from study.results.journal import Journal
from study.search.cell_folder import CellFolder
from study.search.forced import Forced
from study.search.ledger import Ledger
from study.search.space import SearchSpace, build_space
from study.search.trial_config import Assignment
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import SearchConfig
from study.storage.layout import ALIVE_FILE, LOCK_FILE
from study.storage.lock import FolderLock
from study.storage.place import LocalPlace, Place, StoredPlace
from study.tuner import watchdog as watchdog_module
from study.tuner.faults import storage_problem
from study.tuner.scheduler import LedgerScheduler
from study.tuner.searcher import LedgerSearcher
from study.tuner.slot_limit import Slots
from study.tuner.trainable import StepResult
from study.tuner.watchdog import Watchdog
from tests.results.conftest import full_disk
from tests.search.simulated_search import (
    EPOCHS,
    MANY,
    SPACE,
    SPACES,
    known,
    new_ledger,
    reopened,
    report,
    request,
)
from tests.store import s3_server

TWO = SearchConfig(trials=2, seed=3, forced="none")


@dataclasses.dataclass
class Run:
    """A ledger between Ray's two sides."""

    folder: Path
    ledger: Ledger
    stop: Stop
    searcher: LedgerSearcher
    scheduler: LedgerScheduler

    def trial(self, trial_id: str = "ray's own") -> Trial:
        flat = self.searcher.suggest(trial_id)
        assert isinstance(flat, dict)
        return Trial("worker", stub=True, config=flat)

    def decide(self, trial: Trial, step: StepResult) -> str:
        # Ray adds keys of its own.
        result = {**step.write(), "training_iteration": 7, "config": trial.config}
        return str(self.scheduler.on_trial_result(None, trial, result))

    def epoch(self, trial: Trial, epoch: int) -> str:
        brought = report(Assignment.from_flat(trial.config), epoch)
        return self.decide(trial, StepResult(report=brought, is_paused=False, problem=None))

    def cell_folder(self, place: Place | None = None) -> CellFolder:
        journal = Journal.open(self.folder, witness=None)
        return CellFolder(place or LocalPlace(self.folder), journal, FolderLock(self.folder))

    @property
    def journal_bytes(self) -> int:
        return (self.folder / "journal.jsonl").stat().st_size


def run_of(folder: Path, ledger: Ledger) -> Run:
    stop = Stop(folder / "stop")
    searcher = LedgerSearcher(ledger, stop, Slots(folder / "slots", most=100), MANY)
    return Run(folder, ledger, stop, searcher, LedgerScheduler(ledger, stop, searcher, MANY))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(tmp_path / "cell", new_ledger(tmp_path / "cell", TWO))


def test_trials_are_handed_out_until_every_one_has_ended(run: Run) -> None:
    first, second = run.trial(), run.trial()
    assert [t.config["number"] for t in (first, second)] == [0, 1]
    # One that breaks off now would be asked for again.
    assert run.searcher.suggest("id") is None
    for trial in (first, second):
        assert run.searcher.suggest("id") is None
        decisions = [run.epoch(trial, epoch) for epoch in range(1, EPOCHS + 1)]
        assert decisions == [TrialScheduler.CONTINUE] * (EPOCHS - 1) + [TrialScheduler.STOP]
    assert run.searcher.suggest("id") == Searcher.FINISHED
    assert [record.reason for record in run.ledger.records] == ["completed", "completed"]
    assert not run.stop.is_requested


def test_a_sweep_may_change_how_many_trials_are_at_work(run: Run) -> None:
    slots = run.folder / "slots"
    slots.write_text("1")
    run.trial("first")
    assert run.searcher.suggest("second") is None
    assert run.searcher.has_none
    slots.write_text("2")
    run.trial("second")
    assert not run.searcher.has_none
    # What is at work is left alone; less is not asked for until one has ended.
    slots.write_text("1")
    run.searcher.on_trial_complete("first")
    assert run.searcher.suggest("third") is None


SHARED = SearchResources(
    by_budget={"2M": request(4), "20M": request(2), "200M": request(1, cpus=2)}, n_nodes=1
)


def across(folder: Path, *budgets: str) -> LedgerSearcher:
    """Return what hands out one trial after the other, of these budgets."""
    cell = load_study(SPACES / "two_phase.yaml").cell_of_all(
        None, None, Overrides(search={"trials": len(budgets), "forced": "none"})
    )
    space = build_space(cell, n_features=25)
    shapes = {shape.budget: shape for shape in space.shapes}
    forced = [Forced(name=b, config=space.forced(shapes[b])) for b in budgets]
    folder.mkdir()
    ledger = Ledger(
        Journal.create(folder, "abcd", {"kind": "created", "time": 0.0}),
        space=space, forced=forced, search=cell.search, granted_bytes={}, may_repeat=True,
    )  # fmt: skip
    return LedgerSearcher(ledger, Stop(folder / "stop"), Slots(None, most=4), SHARED)


def test_a_large_trial_waits_for_its_room_and_none_overtakes_it(tmp_path: Path) -> None:
    searcher = across(tmp_path / "cell", "2M", "2M", "200M", "2M", "2M")

    def asked() -> list[str]:
        before = searcher.budgets_at_work
        for _ in range(4):
            # Ray asks again and again.
            searcher.suggest(f"trial {len(searcher.budgets_at_work)} after {before}")
        return searcher.budgets_at_work[len(before) :]

    assert isinstance(searcher.suggest("a"), dict)
    searcher.has_begun("a")
    # Small ones may start at once; the large one is asked for while there is room for a small one.
    assert isinstance(searcher.suggest("b"), dict)
    assert isinstance(searcher.suggest("large"), dict)
    assert asked() == []
    searcher.has_begun("b")
    searcher.on_trial_complete("a")
    assert asked() == []
    searcher.on_trial_complete("b")
    # It could start now, but has not: somebody else might take its room.
    assert asked() == []
    searcher.has_begun("large")
    assert asked() == []
    searcher.on_trial_complete("large")
    assert asked() == ["2M", "2M"]


def test_trials_of_several_budgets_run_side_by_side_as_far_as_their_shares_go(
    tmp_path: Path,
) -> None:
    searcher = across(tmp_path / "cell", "2M", "20M", "2M", "2M")
    for name in "ab":
        assert isinstance(searcher.suggest(name), dict)
    # A quarter is free, but the larger one has not got its half: on which machine, nobody knows.
    assert searcher.suggest("c") is None
    searcher.has_begun("b")
    assert isinstance(searcher.suggest("c"), dict)
    # A quarter, a half and a quarter.
    assert searcher.suggest("d") is None
    # Nothing is left for workers to do, but nobody waits for them either.
    assert not searcher.has_none
    searcher.on_trial_complete("a")
    assert isinstance(searcher.suggest("d"), dict)


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("3", 3), ("9", 4), ("", 4), ("x", 4)])
def test_slots_stay_between_one_and_what_fits(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "slots").write_text(text)
    assert Slots(tmp_path / "slots", most=4).count == count
    assert Slots(tmp_path / "absent", most=4).count == 4
    assert Slots(None, most=4).count == 4


def test_a_trial_that_broke_off_is_handed_out_again(run: Run) -> None:
    first, _ = run.trial(), run.trial()
    run.epoch(first, 1)
    assert run.ledger.fault(0, "memory", "out of it", micro_batch=64)
    again = run.trial()
    assert again.config == {**first.config, "micro_batch_limit": 32}
    assert Assignment.from_flat(again.config) == run.ledger.assignment(0)


def test_the_word_of_ray_about_an_end_changes_nothing(run: Run) -> None:
    trial = run.trial()
    before = known(run.ledger)
    run.searcher.on_trial_complete("ray's own", None, error=True)
    run.scheduler.on_trial_complete(None, trial, {})
    assert known(run.ledger) == before


@pytest.mark.parametrize("is_asked_meanwhile", [False, True])
def test_an_exhausted_space_ends_the_search(tmp_path: Path, is_asked_meanwhile: bool) -> None:
    def fixed(dimensions: Any) -> dict[str, Fixed]:
        return {name: Fixed(each.values[0]) for name, each in dimensions.items()}

    single: SearchSpace = dataclasses.replace(
        SPACE, shapes=SPACE.shapes[:1], model=fixed(SPACE.model), train=fixed(SPACE.train)
    )
    folder = tmp_path / "cell"
    folder.mkdir()
    journal = Journal.create(folder, "abcd", {"kind": "created", "time": 0.0})
    ledger = Ledger(journal, space=single, forced=(), search=TWO, granted_bytes={})
    run = run_of(folder, ledger)
    trial = run.trial()
    if is_asked_meanwhile:
        assert run.searcher.suggest("id") is None
    for epoch in range(1, EPOCHS + 1):
        run.epoch(trial, epoch)
    assert run.searcher.suggest("id") == Searcher.FINISHED


def test_a_trial_that_cannot_be_written_down_is_not_handed_out(run: Run) -> None:
    with full_disk(run.journal_bytes + 10):
        assert run.searcher.suggest("id") == Searcher.FINISHED
    assert run.stop.is_fault
    assert run.stop.reason is not None
    assert "the records must be written, but got File too large" in run.stop.reason
    assert run.ledger.numbers == []
    assert reopened(run.folder, TWO).numbers == []


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
    # It paused without having been asked to here: somebody else made the stop file.
    assert run.stop.is_requested
    assert not run.stop.is_fault


def test_what_stops_one_trial_from_saving_stops_all(run: Run) -> None:
    trial = run.trial()
    problem = StepResult(report=None, is_paused=True, problem="cell: no space")
    assert run.decide(trial, problem) == TrialScheduler.STOP
    assert (run.stop.reason, run.stop.is_fault) == ("cell: no space", True)


def test_nothing_of_a_search_is_left_to_the_snapshots_of_ray(run: Run, tmp_path: Path) -> None:
    run.trial()
    run.searcher.save(str(tmp_path / "state"))
    assert (tmp_path / "state").read_bytes() == b""


def test_a_problem_of_the_storage_names_its_file() -> None:
    assert storage_problem(OSError(28, "No space left on device", "/cell/log.txt")) == (
        "/cell/log.txt: the records must be written, but got No space left on device"
    )
    assert "the results folder: the records" in storage_problem(OSError("gone"))
    assert storage_problem(OSError("gone")).endswith("but got gone")


STALL = 0.15


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note whose worker would be ended: to end a real one takes a cluster."""
    found: list[str] = []
    monkeypatch.setattr(ray, "kill", found.append)
    monkeypatch.setattr(watchdog_module, "_WATCH_SECONDS", 0.0)
    return found


def watched(run: Run) -> Trial:
    trial = run.trial()
    trial.status = Trial.RUNNING
    trial.temporary_state.ray_actor = f"worker of {trial.config['number']}"
    return trial


def test_a_worker_without_a_sign_of_life_is_ended_once(run: Run, killed: list[str]) -> None:
    silent, lively, pending = watched(run), watched(run), Trial("worker", stub=True)
    folder = run.folder / run.ledger.assignment(1).folder
    folder.mkdir()
    watchdog = Watchdog(run.cell_folder(), STALL)
    with FolderLock(folder) as lock:
        until = time.monotonic() + 3 * STALL
        while time.monotonic() < until:
            lock.show_life()
            watchdog.on_step_begin(0, [silent, lively, pending])
            time.sleep(0.01)
    assert killed == ["worker of 0"]
    assert list(watchdog.stalled) == [0]
    assert watchdog.stalled[0].startswith("no training step for 0 s")


def test_the_driver_shows_that_it_lives(run: Run, killed: list[str]) -> None:
    watchdog = Watchdog(run.cell_folder(), STALL)
    os.utime(run.folder / LOCK_FILE, (1000.0, 1000.0))
    watchdog.on_step_begin(0, [])
    assert time.time() - (run.folder / LOCK_FILE).stat().st_mtime < 5.0


def test_an_old_sign_of_life_is_none_and_no_fault_of_the_new_worker(
    run: Run, killed: list[str]
) -> None:
    trial = watched(run)
    folder = run.folder / run.ledger.assignment(0).folder
    folder.mkdir()
    FolderLock(folder).release()
    os.utime(folder / LOCK_FILE, (1000.0, 1000.0))
    watchdog = Watchdog(run.cell_folder(), STALL)
    watchdog.on_step_begin(0, [trial])
    assert killed == []
    # It is not at work for a while: the next worker gets its whole time.
    time.sleep(1.5 * STALL)
    trial.status = Trial.PENDING
    watchdog.on_step_begin(0, [trial])
    trial.status = Trial.RUNNING
    watchdog.on_step_begin(0, [trial])
    assert killed == []
    time.sleep(1.5 * STALL)
    watchdog.on_step_begin(0, [trial])
    assert killed == ["worker of 0"]


def test_a_trial_without_a_worker_yet_is_left_alone(run: Run, killed: list[str]) -> None:
    trial = watched(run)
    trial.temporary_state.ray_actor = None
    watchdog = Watchdog(run.cell_folder(), 0.0)
    for _ in range(3):
        watchdog.on_step_begin(0, [trial])
        time.sleep(0.01)
    assert killed == []
    assert watchdog.stalled == {}


@pytest.mark.slow
def test_signs_of_life_that_go_through_a_store(run: Run, killed: list[str], tmp_path: Path) -> None:
    silent, lively = watched(run), watched(run)
    with s3_server(tmp_path / "log") as server:
        place = StoredPlace(server.uri(), run.folder, sign_seconds=0.0)
        # A store tells the time in whole seconds.
        watchdog = Watchdog(run.cell_folder(place), 1.5)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            place.mirror.write(f"{run.ledger.assignment(1).folder}/{ALIVE_FILE}", b"")
            watchdog.on_step_begin(0, [silent, lively])
            time.sleep(0.05)
    assert killed == ["worker of 0"]
    # It does not answer, which says nothing about the trial.
    killed.clear()
    watchdog._stall_seconds = 0.0
    watchdog.on_step_begin(0, [lively])
    assert killed == []
