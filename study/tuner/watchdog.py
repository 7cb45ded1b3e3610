"""The callback of a Tune run that detects stalled trials and the death of Ray's processes."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from study.cluster.runtime import is_alive, ray_processes
from study.search.assignment import Assignment
from study.search.cell_folder import CellFolder

_WATCH_SECONDS = 1.0
"""Seconds between two checks of Ray and of the running trials; an own choice."""

_FIRST_EPOCH_SECONDS = 300.0
"""Fewest seconds of silence after which a worker is ended that has not reported an epoch of its
trial; an own choice. Until then it imports on use, which was seen to take 7 s on a busy machine,
waits up to a minute for the worker of a killed driver, and builds and restores the model."""


class RayDiedError(BaseException):
    """A process of Ray has died. Ray would catch an Exception, clean up and hang."""


@dataclass(slots=True)
class _Sign:
    """The last sign of life of a trial, timed by the driver's clock, as other clocks may differ."""

    changed_ns: int
    """Time of the sign in nanoseconds, by the clock of its place."""
    seen: float
    """Time at which ``changed_ns`` was last seen to change, in seconds of ``time.monotonic``."""
    looked: float
    """Time of the last query of the place, in seconds of ``time.monotonic``."""


class Watchdog(Callback):  # type: ignore[misc]
    """Detects what Ray does not: trials that make no step, and the death of Ray's processes.

    It ends the worker of a trial that makes no step for too long; Ray then reports its death. A
    trial that has not reported an epoch since its worker took it is given time to begin, however
    short that limit. If a process of Ray has died, it ends the search at once: Ray would hang
    silently for a minute, and then exit this process.

    It also shows that the driver lives, by the time of the cell's lock file.

    Args:
        folder: the locked folder of the cell.
        stall_seconds: seconds without a step after which a worker is ended.
    """

    def __init__(self, folder: CellFolder, stall_seconds: float) -> None:
        self._lock = folder.lock
        self._place = folder.place
        self._stall_seconds = stall_seconds
        self._signs: dict[str, _Sign] = {}
        self._reported: set[str] = set()
        self._looked = 0.0
        self._ray: dict[str, psutil.Process] = {}
        self.stalled: dict[int, str] = {}
        """Why the worker of a trial was ended, by number; removed once its death is reported."""

    def setup(self, *args: Any, **info: Any) -> None:
        """Note the processes of a Ray that this process has started."""
        self._ray = {process.name(): process for process in ray_processes()}

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Check Ray and the running trials.

        Raises:
            RayDiedError: a process of Ray has ended.
        """
        now = time.monotonic()
        if now - self._looked < _WATCH_SECONDS:
            return
        self._looked = now
        self.look()
        running = [trial for trial in trials if trial.status == Trial.RUNNING]
        self._signs = {t.trial_id: self._sign(t, now) for t in running}
        self._reported &= self._signs.keys()
        for trial in running:
            silent = now - self._signs[trial.trial_id].seen
            if silent > self._limit_seconds(trial):
                self._end_worker(trial, silent)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Note that a trial has begun."""
        self._reported.add(trial.trial_id)

    def _limit_seconds(self, trial: Trial) -> float:
        """Return the seconds without a step after which the worker of a trial is ended."""
        if trial.trial_id in self._reported:
            return self._stall_seconds
        return max(self._stall_seconds, _FIRST_EPOCH_SECONDS)

    def look(self) -> None:
        """Show that the driver lives, and check the processes of Ray.

        Raises:
            RayDiedError: a process of Ray has ended.
        """
        # A lost or read-only file system is reported by the next record that is written.
        with suppress(OSError):
            self._lock.show_life()
        for name, process in self._ray.items():
            if not is_alive(process):
                raise RayDiedError(f"Ray's {name} has died")

    def _sign(self, trial: Trial, now: float) -> _Sign:
        before = self._signs.get(trial.trial_id)
        if before and now - before.looked < self._place.sign_seconds:
            return before
        changed = self._place.last_sign(Assignment.from_flat(trial.config).folder)
        if changed is None:
            return _Sign(before.changed_ns if before else 0, now, now)
        is_silent = before and before.changed_ns == changed
        return _Sign(changed, before.seen if before and is_silent else now, now)

    def _end_worker(self, trial: Trial, silent: float) -> None:
        number = trial.config["number"]
        if number in self.stalled or trial.temporary_state.ray_actor is None:
            return
        self.stalled[number] = f"no training step for {silent:.0f} s, so its worker was ended"
        ray.kill(trial.temporary_state.ray_actor)
