"""A ledger between the searcher and the scheduler of a Tune run, without a cluster."""

import dataclasses
from pathlib import Path

from ray.tune.experiment import Trial

from study.interruptions import Stop
from study.results.journal import Journal
from study.search.assignment import Assignment
from study.search.cell_folder import CellFolder
from study.search.ledger import Ledger
from study.spec.search_config import SearchConfig
from study.storage.lock import FolderLock
from study.storage.place import LocalPlace, Place
from study.tuner.scheduler import LedgerScheduler
from study.tuner.searcher import LedgerSearcher
from study.tuner.slot_limit import Slots
from study.tuner.trainable import StepResult
from tests.search.simulated_search import (
    MANY,
    report,
)

TWO = SearchConfig(trials=2, seed=3, forced="none")


@dataclasses.dataclass
class Run:
    """A ledger with the searcher and the scheduler that a Tune run would call."""

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
