"""One cell of a sweep: its process, and what is known of it from its records."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from study.errors import StudyError
from study.results.plans.plan_file import PlannedCell
from study.results.records import TrialRecord, best_trial
from study.results.status_files import read_asked
from study.results.store import read_trials
from study.storage.layout import JOURNAL_FILES, TRIALS_FILE
from study.sweeping.admission import CellDemand
from study.sweeping.processes import Process

CellEnd = Literal["pass", "fail", "skip", "left out", "interrupted"]


@dataclass(slots=True)
class CellRun:
    """One cell of a sweep."""

    name: str
    plan: PlannedCell
    flags: tuple[str, ...]
    """Flags by which ``study.tune`` knows the cell."""
    process: Process | None = None
    began: float | None = None
    """Monotonic time of its first start here."""
    seconds: float | None = None
    """Seconds from its first start here to its end."""
    n_epochs: int = 0
    """Number of epochs in its journal when its process last started."""
    retries: int = 0
    """Number of deaths of its process since the last epoch."""
    end: CellEnd | None = None
    reason: str | None = None
    records: list[TrialRecord] = field(default_factory=list)
    """Records of the trials that have ended."""
    asked: int | None = None
    """Number of trials by ``cell.yaml``, those beyond an edge included; None before it is read."""
    changed_ns: int = 0
    """Time of change, in nanoseconds, of the file from which ``records`` were read."""

    @property
    def demand(self) -> CellDemand:
        """What it could use of the cluster now; it must be a cell that can run."""
        planned = self.plan.demand
        assert planned is not None
        return CellDemand(
            name=self.name,
            capacity=planned.capacity,
            usable=min(planned.concurrency, max(1, self.trials - len(self.records))),
            exclusive=planned.exclusive,
        )

    @property
    def trials(self) -> int:
        """The number of trials that it is asked for, as far as is known."""
        return self.asked or self.plan.trials

    @property
    def best(self) -> TrialRecord | None:
        """The best trial so far."""
        return best_trial(self.records)

    def read(self, results: Path) -> None:
        """Read the trials that have ended, if there are new ones below the results folder."""
        path = results / self.name
        # It may grow while no trial ends.
        self.asked = read_asked(path)
        try:
            changed = (path / TRIALS_FILE).stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed == self.changed_ns:
            return
        try:
            self.records = read_trials(path)
        except StudyError:
            # Its own process repairs it when its next trial ends; until then the last records
            # stand.
            return
        self.changed_ns = changed


def count_epochs(cell_folder: Path) -> int:
    """Return how many epochs a cell's journal holds; 0 without one."""
    path = cell_folder / JOURNAL_FILES[0]
    return path.read_bytes().count(b'"kind": "epoch"') if path.is_file() else 0
