"""Where a Tune run meets the ledger: Ray asks for trials, reports results, is told when to stop.

Ray keeps no state of a search: what it would save is in the journal already, and what it saves is
never read.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.cluster.resources import SearchResources
from study.cluster.runtime import is_alive, ray_processes
from study.results.journal import JournalError
from study.results.lock import LOCK_FILE, FolderLock
from study.results.mirror import Mirror
from study.search.assignment import Assignment
from study.search.ledger import Ledger
from study.search.slots import Slots
from study.search.stop import Stop
from study.search.trainable import ALIVE, SIGN_SECONDS, StepResult
from study.search.workers import Workers

_WATCH_SECONDS = 1.0


class RayDiedError(BaseException):
    """A process of Ray has died; not an Exception, for Ray would clean up and hang."""


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Hands out the ledger's trials, as many at once as there are slots and room.

    Trials of different budgets may ask for different shares of the cluster. Ray would then start
    whichever fits, and the largest last. Here none overtakes another: as long as one of the larger
    ones waits for its room, no further trial is asked for.
    """

    def __init__(
        self,
        ledger: Ledger,
        stop: Stop,
        slots: Slots,
        resources: SearchResources,
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._ledger = ledger
        self._stop = stop
        self._slots = slots
        self._resources = resources
        self._may_start = may_start
        self._at_work: dict[str, str] = {}
        """Budget of every trial that was handed out and has not ended, by Ray's identity."""
        self._to_start: set[str] = set()
        """Those of them that have not begun."""
        self.has_none = False
        """Was there no trial to hand out when Ray last asked, nor soon?"""

    @property
    def budgets_at_work(self) -> list[str]:
        """The budget of every trial that is at work or is to start."""
        return list(self._at_work.values())

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's flat assignment, None for not now, or FINISHED."""
        self.has_none = True
        # Asked first, for it may end the search; with nothing at work, Ray asks nothing but this.
        may_start = self._may_start()
        if self._stop.is_requested or self._ledger.is_complete:
            return Searcher.FINISHED  # type: ignore[no-any-return]
        if not may_start or not self._has_room():
            self.has_none = self._slots.is_granted
            return None
        try:
            assignment = self._ledger.next()
        except OSError as error:
            self._stop.request(storage_problem(error), is_fault=True)
            return Searcher.FINISHED  # type: ignore[no-any-return]
        if assignment is not None:
            self.has_none = False
            self._at_work[trial_id] = assignment.config.budget
            self._to_start.add(trial_id)
            return assignment.flat()
        # None keeps the run alive: a trial that breaks off now will be asked for again.
        return Searcher.FINISHED if self._ledger.is_complete else None

    def has_begun(self, trial_id: str) -> None:
        """Take in that a trial has the room that it asked for."""
        self._to_start.discard(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free the slot; of the end itself the ledger hears before Ray does."""
        self._at_work.pop(trial_id, None)
        self._to_start.discard(trial_id)
        # Ray keeps its worker until it has asked for another trial.
        self.has_none = False

    def _has_room(self) -> bool:
        smallest = Fraction(1, self._resources.capacity)
        waiting = self._resources.shares(self._at_work[each] for each in self._to_start)
        return (
            len(self._at_work) < self._slots.count
            and self._resources.has_room(self._at_work.values())
            # Many of the smallest may start at once.
            and waiting <= smallest * len(self._to_start)
        )

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file where Ray expects one."""
        Path(checkpoint_path).touch()


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Writes every epoch into the ledger, and stops the trials that it ends."""

    def __init__(
        self, ledger: Ledger, stop: Stop, searcher: LedgerSearcher, resources: SearchResources
    ) -> None:
        super().__init__()
        self._ledger = ledger
        self._stop = stop
        self._searcher = searcher
        self._workers = Workers(resources, lambda: searcher.budgets_at_work)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the next pending trial, and give back a worker that nothing is left for.

        One would be kept for a trial that may come, with its share of the device: of a cluster that
        other cells wait for.
        """
        # Past the wrapper, which logs a warning: schedulers have no public way to say so.
        controller = tune_controller._tune_controller
        # At the first call, when no worker has started.
        controller._actor_cache = self._workers
        trials = tune_controller.get_live_trials()
        for trial in trials:
            if trial.status == Trial.RUNNING:
                self._searcher.has_begun(trial.trial_id)
        if self._searcher.has_none and all(t.status == Trial.RUNNING for t in trials):
            controller._cleanup_cached_actors(force_all=True)
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return STOP for a trial that has ended or is to pause."""
        step = StepResult.read(result)
        if step.problem is not None:
            self._stop.request(step.problem, is_fault=True)
        elif step.is_paused:
            # If it is not known here, somebody else put the stop file there.
            self._stop.request(f"the file {self._stop.file}", is_fault=False)
        has_ended = False
        if step.report is not None:
            try:
                has_ended = self._ledger.epoch(trial.config["number"], step.report)
            except OSError as error:
                # The trial repeats this report after a restart.
                self._stop.request(storage_problem(error), is_fault=True)
            except JournalError as error:
                self._stop.request(str(error), is_fault=True)
        is_over = has_ended or step.is_paused or self._stop.is_requested
        return str(TrialScheduler.STOP if is_over else TrialScheduler.CONTINUE)


@dataclass(slots=True)
class _Sign:
    """The last sign of life of a trial, by the driver's clock: other clocks may differ."""

    changed_ns: int
    seen: float
    looked: float
    """When it was last asked for."""


class Watchdog(Callback):  # type: ignore[misc]
    """Watches what Ray does not: trials that make no step, and the processes of Ray itself.

    Shows that the driver itself lives, by the time of the cell's lock file.

    The worker of a trial that makes no step for too long is ended; Ray then reports its death. If a
    process of Ray has died, the search ends at once: Ray would go on for a minute without a word,
    and then end this process from within.
    """

    def __init__(
        self,
        cell_folder: Path,
        lock: FolderLock,
        stall_seconds: float,
        mirror: Mirror | None = None,
    ) -> None:
        self._cell_folder = cell_folder
        self._lock = lock
        self._mirror = mirror
        self._stall_seconds = stall_seconds
        self._signs: dict[str, _Sign] = {}
        self._looked = 0.0
        self._ray: dict[str, psutil.Process] = {}
        self.stalled: dict[int, str] = {}
        """Number of every trial whose worker was ended and not yet reported dead, and why."""

    def setup(self, *args: Any, **info: Any) -> None:
        """Note the processes of a Ray that this process has started."""
        self._ray = {process.name(): process for process in ray_processes()}

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Look after Ray and the running trials.

        Raises:
            RayDiedError: a process of Ray has ended.
        """
        now = time.monotonic()
        if now - self._looked < _WATCH_SECONDS:
            return
        self.look()
        running = [trial for trial in trials if trial.status == Trial.RUNNING]
        self._signs = {t.trial_id: self._sign(t, now) for t in running}
        for trial in running:
            silent = now - self._signs[trial.trial_id].seen
            if silent > self._stall_seconds:
                self._end_worker(trial, silent)

    def look(self) -> None:
        """Show that the driver lives, and look after Ray.

        Raises:
            RayDiedError: a process of Ray has ended.
        """
        self._looked = time.monotonic()
        # A file system that is gone or read-only is missed by whoever writes there next.
        with suppress(OSError):
            self._lock.show_life()
        for name, process in self._ray.items():
            if not is_alive(process):
                raise RayDiedError(f"Ray's {name} has died")

    def _sign(self, trial: Trial, now: float) -> _Sign:
        before = self._signs.get(trial.trial_id)
        if before and self._mirror is not None and now - before.looked < SIGN_SECONDS:
            return before
        folder = Assignment.from_flat(trial.config).folder
        try:
            if self._mirror is not None:
                changed = self._mirror.changed_ns(f"{folder}/{ALIVE}")
            else:
                changed = (self._cell_folder / folder / LOCK_FILE).stat().st_mtime_ns
        except FileNotFoundError:
            # The worker has not begun.
            changed = 0
        except OSError:
            if self._mirror is None:
                raise
            # A store that does not answer says nothing about the trial.
            return _Sign(before.changed_ns if before else 0, now, now)
        is_silent = before and before.changed_ns == changed
        return _Sign(changed, before.seen if before and is_silent else now, now)

    def _end_worker(self, trial: Trial, silent: float) -> None:
        number = trial.config["number"]
        if number in self.stalled or trial.temporary_state.ray_actor is None:
            return
        self.stalled[number] = f"no training step for {silent:.0f} s, so its worker was ended"
        ray.kill(trial.temporary_state.ray_actor)


def storage_problem(error: OSError) -> str:
    """Return what to tell a user whose results folder cannot be written."""
    if isinstance(error, BrokenPipeError):
        return "nobody reads the output any more"
    where = error.filename or "the results folder"
    return f"{where}: the records must be written, but got {error.strerror or error}"
