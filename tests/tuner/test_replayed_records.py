"""Records of a trial that was trained again hold every epoch once, and say so."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from study.interruptions import Stop
from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.search.assignment import Assignment
from study.search.cell_folder import CellFolder
from study.search.ledger import Ledger
from study.storage.lock import FolderLock
from study.storage.place import LocalPlace
from study.tuner.opened_search import OpenedSearch
from study.tuner.recorder import Recorder
from study.tuner.slot_limit import Slots
from study.tuner.trainable import StepResult
from tests.results.reports import best_epoch, validation
from tests.search.simulated_search import CELL, new_ledger, reopened, report
from tests.tuner.planned import plan


class Session:
    """A driver from its start to its end, whose only trial is the first one."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        lock = FolderLock(folder)
        # Several drivers use the folder one after the other in one process.
        lock.release()
        self.ledger = ledger
        self._recorder = Recorder(
            OpenedSearch(
                plan=dataclasses.replace(plan(), cell=CELL),
                folder=CellFolder(LocalPlace(folder), Journal.open(folder, witness=None), lock),
                ledger=ledger,
                stop=Stop(folder / "stop"),
                slots=Slots(None, most=1),
            ),
            stalled={},
        )
        self._recorder.repair()
        assignment = ledger.next()
        assert assignment is not None
        self.assignment: Assignment = assignment
        self._trial = Trial("worker", stub=True, config=assignment.flat())
        self._recorder.on_trial_start(0, [], self._trial)

    def report(self, epoch: int, **changes: Any) -> None:
        brought = dataclasses.replace(report(self.assignment, epoch), **changes)
        self.ledger.epoch(self.assignment.number, brought)
        step = StepResult(report=brought, is_paused=False, problem=None)
        self._recorder.on_trial_result(0, [], self._trial, step.write())

    def end(self) -> None:
        self._recorder.on_experiment_end([])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a search that was interrupted after three epochs."""
    session = Session(tmp_path / "cell", new_ledger(tmp_path / "cell"))
    for epoch in (1, 2, 3):
        session.report(epoch)
    session.end()
    return tmp_path / "cell"


def lines(folder: Path) -> list[EpochRecord]:
    (path,) = folder.glob("trial_0000*/result.json")
    return [EpochRecord.from_json(json.loads(line)) for line in path.read_text().splitlines()]


def shown(folder: Path) -> list[int]:
    """Return the epochs that TensorBoard shows."""
    (trial,) = folder.glob("trial_0000*")
    events = EventAccumulator(str(trial))
    events.Reload()
    return [event.step for event in events.Scalars("learning_rate")]


def test_a_trial_that_was_trained_again_has_each_epoch_once_and_marked(folder: Path) -> None:
    session = Session(folder, reopened(folder))
    before = lines(folder)
    for epoch in (2, 3, 4):
        session.report(epoch)
    session.end()
    assert session.ledger.record(0) is not None
    found = lines(folder)
    assert [(each.epoch, each.replays) for each in found] == [(1, None), (2, 1), (3, 1), (4, None)]
    assert [each.validation for each in found[:3]] == [each.validation for each in before]
    assert shown(folder) == [1, 2, 3, 4]
    (metrics,) = folder.glob("trial_0000*/metrics.json")
    curve = json.loads(metrics.read_text())["learning_curve"]
    assert [each.get("replays") for each in curve] == [None, 1, 1, None]


def test_a_replay_that_ends_a_trial_sooner_is_all_that_its_records_hold(folder: Path) -> None:
    session = Session(folder, reopened(folder))
    best = best_epoch(0.3, epoch=2)
    session.report(2, stop_reason="early_stopping", validation=validation(0.3), best=best)
    session.end()
    record = session.ledger.record(0)
    assert record is not None
    assert (record.value, record.epochs_trained) == (0.3, 2)
    assert [(each.epoch, each.replays) for each in lines(folder)] == [(1, None), (2, 1)]
    assert shown(folder) == [1, 2]
