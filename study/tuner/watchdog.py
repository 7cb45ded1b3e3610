"""The callback of a Tune run that watches trials that make no step, and Ray's own processes."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from study.cluster.runtime import is_alive, ray_processes
from study.search.cell_folder import CellFolder
from study.search.trial_config import Assignment

_WATCH_SECONDS = 1.0
"""Seconds between two looks at Ray and at the running trials."""


class RayDiedError(BaseException):
    """A process of Ray has died; not an Exception, for Ray would clean up and hang."""


@dataclass(slots=True)
class _Sign:
    """The last sign of life of a trial, by the driver's clock: other clocks may differ."""

    changed_ns: int
    """When the trial last showed that it lives, by the clock of its place."""
    seen: float
    """When that was last found to have changed, in seconds of ``time.monotonic``."""
    looked: float
    """When the place was last asked, in seconds of ``time.monotonic``."""


class Watchdog(Callback):  # type: ignore[misc]
    """Watches what Ray does not: trials that make no step, and the processes of Ray itself.

    Shows that the driver itself lives, by the time of the cell's lock file.

    The worker of a trial that makes no step for too long is ended; Ray then reports its death. If a
    process of Ray has died, the search ends at once: Ray would hang for a minute in silence,
    and then end this process from within.

    Args:
        folder: the cell's, locked.
        stall_seconds: seconds without a step after which a worker is ended.
    """

    def __init__(self, folder: CellFolder, stall_seconds: float) -> None:
        self._lock = folder.lock
        self._place = folder.place
        self._stall_seconds = stall_seconds
        self._signs: dict[str, _Sign] = {}
        self._looked = 0.0
        self._ray: dict[str, psutil.Process] = {}
        self.stalled: dict[int, str] = {}
        """Why the worker of a trial was ended, by number; removed once its death is reported."""

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
