"""What a search's books cost with 10,000 trials in them: a draw, an epoch, an end, a look.

What is measured is processor time, which other programs disturb least: a disk is not waited for.

Run by hand with ``make bench``; it takes about two minutes. The bars are own choices: what is small
beside a trial of some seconds. A resumption reads everything once, so it has no bar and is printed.
"""

import dataclasses
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import optuna
import psutil
import pytest

from study.results.journal import Journal
from study.results.status_snapshot import read_status
from study.results.store import CellIdentity, CellStore
from study.search.assignment import Assignment
from study.search.ledger import Ledger
from study.search.sampler import Sampler
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.search_config import SearchConfig
from study.spec.spec_file import load_study
from study.storage.driver_status import Driver
from study.storage.lock import FolderLock
from tests.search.simulated_search import report

TRIALS = 10_000
SLOTS = 4
DRAW_SECONDS = 0.2
DRAW_BYTES = 200 * 10**6
CALL_SECONDS = 1.0

CELL = load_study(Path(__file__).parent.parent.parent / "search_spaces/phase6a.yaml").cell("2M", 3)
SPACE = build_space(CELL, n_features=25)
SEARCH = SearchConfig(
    trials=2 * TRIALS, seed=3, forced="none", early_stop_patience=20, early_stop_threshold=1e-9
)
EPOCHS = 3

pytestmark = pytest.mark.bench

Value = TypeVar("Value")


def shortest(name: str, call: Callable[[], Value], times: int = 3) -> tuple[float, Value]:
    """Return the processor time of the fastest call, in seconds, and its value."""
    seconds = []
    for _ in range(times):
        began = time.process_time()
        value = call()
        seconds.append(time.process_time() - began)
    print(f"{name:<40} {min(seconds):8.3f} s")
    return min(seconds), value


def random_configs(space: SearchSpace) -> Callable[[], TrialConfig]:
    source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    return lambda: space.sample(source.ask())


def test_a_draw_is_as_fast_as_one_of_a_thousand_trials_and_takes_little_memory() -> None:
    make, chance = random_configs(SPACE), random.Random(1)
    configs = [make() for _ in range(TRIALS)]
    before = psutil.Process().memory_info().rss
    sampler = Sampler(SPACE, seed=42, startup_trials=10)
    for number, config in enumerate(configs):
        sampler.place(number, config)
        value, is_cut = chance.uniform(0.5, 0.7), chance.random() < 0.5
        sampler.report(number, 25 if is_cut else 100, value)
        if number < TRIALS - SLOTS:
            sampler.tell(number, "PRUNED" if is_cut else "COMPLETE", value)
        if number == 1_000:
            shortest("a draw with 1,000 trials", lambda: sampler.draw(TRIALS))
    seconds, _ = shortest("a draw with 10,000 trials", lambda: sampler.draw(TRIALS))
    grown = psutil.Process().memory_info().rss - before
    print(f"{'memory of the study, draws included':<40} {grown / 1e6:8.0f} MB")
    assert seconds < DRAW_SECONDS
    assert grown < DRAW_BYTES


def filled(storage: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, CellStore]:
    """Make the folder of a search of which 10,000 trials have ended."""
    folder = storage / CELL.name
    folder.mkdir(parents=True)
    identity = CellIdentity(
        name=CELL.name, study=CELL.study, budget="2M", phase=None, metric="log_loss", horizon=3,
        task="threshold_1pct", data_sha256="abc", versions={},
    )  # fmt: skip
    store, make = CellStore(folder, identity), random_configs(SPACE)
    with monkeypatch.context() as quick:
        # Neither a disk that keeps everything nor good configurations are needed here.
        quick.setattr(os, "fsync", lambda _: None)
        quick.setattr(Sampler, "draw", lambda *_: make())
        described = {"cell": CELL.name, "budget": "2M", "trials": SEARCH.trials}
        journal = Journal.create(
            folder, "abcdabcd", {"kind": "created", "time": 0.0, "cell": described}
        )
        search = dataclasses.replace(SEARCH, early_stop_patience=None, early_stop_threshold=None)
        ledger = Ledger(journal, space=SPACE, forced=(), search=search, granted_bytes={})
        for _ in range(TRIALS):
            run(ledger, store)
        store.write_trials(ledger.records)
    return folder, store


def run(ledger: Ledger, store: CellStore) -> None:
    trial = ledger.next()
    assert trial is not None
    (store.folder / trial.folder).mkdir()
    train(ledger, trial)
    record = ledger.record(trial.number)
    assert record is not None
    store.write_trial(record, ledger.epochs(trial.number))
    ledger.forget_epochs(trial.number)


def train(ledger: Ledger, trial: Assignment) -> None:
    epoch = 1
    while not ledger.epoch(trial.number, report(trial, epoch, of=EPOCHS)):
        epoch += 1


def test_ledger_journal_records_and_status_answer_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = filled(tmp_path, monkeypatch)
    _, journal = shortest(
        "journal: read and compared", lambda: Journal.open(folder, witness=None), 1
    )
    _, ledger = shortest(
        "ledger: replayed",
        lambda: Ledger(journal, space=SPACE, forced=(), search=SEARCH, granted_bytes={}),
        1,
    )
    shortest("records: first written", lambda: store.write_trials(ledger.records), 1)
    for number in ledger.numbers:
        ledger.forget_epochs(number)

    def started() -> Assignment:
        trial = ledger.next()
        assert trial is not None
        (folder / trial.folder).mkdir()
        return trial

    found = {}
    found["next"], trial = shortest("ledger: a new trial", started)
    found["epochs"], _ = shortest("ledger: a trial to its end", lambda: train(ledger, trial), 1)
    found["append"], _ = shortest("journal: an event", lambda: journal.append({"kind": "x"}))
    found["records"], _ = shortest(
        "records: all trials", lambda: store.write_trials(ledger.records)
    )
    driver, lock = Driver(folder), FolderLock(folder)
    found["status"], status = shortest("status of a running search", lambda: read_status(tmp_path))
    driver.end("interrupted", None)
    lock.release()
    assert status.cells[0].state == "running"
    assert (status.cells[0].ended, len(status.cells[0].running)) == (TRIALS + 1, 2)
    assert max(found.values()) < CALL_SECONDS, found
