"""The watchdog ends the workers of silent trials alone, without a cluster."""

import os
import time
from pathlib import Path

import pytest
import ray
from ray.tune.experiment import Trial

from study.storage.layout import ALIVE_FILE, LOCK_FILE
from study.storage.lock import FolderLock
from study.storage.place import StoredPlace
from study.tuner import watchdog as watchdog_module
from study.tuner.watchdog import Watchdog
from tests.search.simulated_search import (
    new_ledger,
)
from tests.store import s3_server
from tests.tuner.ledger_run import TWO, Run, run_of


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(tmp_path / "cell", new_ledger(tmp_path / "cell", TWO))


STALL = 0.15


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the workers that would be ended; ending a real one takes a cluster."""
    found: list[str] = []
    monkeypatch.setattr(ray, "kill", found.append)
    monkeypatch.setattr(watchdog_module, "_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(watchdog_module, "_FIRST_EPOCH_SECONDS", 0.0)
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
    # The trial pauses for a while, and its next worker gets the full time.
    time.sleep(1.5 * STALL)
    trial.status = Trial.PENDING
    watchdog.on_step_begin(0, [trial])
    trial.status = Trial.RUNNING
    watchdog.on_step_begin(0, [trial])
    assert killed == []
    time.sleep(1.5 * STALL)
    watchdog.on_step_begin(0, [trial])
    assert killed == ["worker of 0"]


def test_the_short_limit_holds_once_the_worker_has_reported_an_epoch(
    run: Run, killed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog_module, "_FIRST_EPOCH_SECONDS", 600.0)
    begun, beginning = watched(run), watched(run)
    watchdog = Watchdog(run.cell_folder(), STALL)
    for trial in (begun, beginning):
        # The report of an earlier worker is none of this one.
        watchdog.on_trial_result(0, [], trial, {})
        watchdog.on_step_begin(0, [])
    watchdog.on_step_begin(0, [begun, beginning])
    watchdog.on_trial_result(0, [], begun, {})
    time.sleep(1.5 * STALL)
    watchdog.on_step_begin(0, [begun, beginning])
    assert killed == ["worker of 0"]


def test_a_worker_that_never_begins_is_ended_too(
    run: Run, killed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog_module, "_FIRST_EPOCH_SECONDS", 2 * STALL)
    trial = watched(run)
    watchdog = Watchdog(run.cell_folder(), 0.0)
    watchdog.on_step_begin(0, [trial])
    assert killed == []
    time.sleep(2.5 * STALL)
    watchdog.on_step_begin(0, [trial])
    assert killed == ["worker of 0"]


def test_the_last_trial_is_watched_while_the_searcher_is_asked_for_more(
    run: Run, killed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog_module, "_WATCH_SECONDS", 0.05)
    trial = watched(run)
    watchdog = Watchdog(run.cell_folder(), STALL)
    until = time.monotonic() + 3 * STALL
    while time.monotonic() < until:
        # The searcher looks whenever Tune has a free slot, just before each step.
        watchdog.look()
        watchdog.on_step_begin(0, [trial])
        time.sleep(0.01)
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
        # A store records times in whole seconds.
        watchdog = Watchdog(run.cell_folder(place), 1.5)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            place.mirror.write(f"{run.ledger.assignment(1).folder}/{ALIVE_FILE}", b"")
            watchdog.on_step_begin(0, [silent, lively])
            time.sleep(0.05)
    assert killed == ["worker of 0"]
    # The store does not answer now, which is no evidence against the trial.
    killed.clear()
    watchdog._stall_seconds = 0.0
    watchdog.on_step_begin(0, [lively])
    assert killed == []
