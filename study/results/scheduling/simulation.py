"""A search on a clock, without training: trials with known losses and times, slots, a scheduler."""

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from study.results.scheduling.rungs import WHOLE_SCHEDULE, rung_epochs
from study.results.scheduling.schedulers import Decision, Scheduler


class PlayedTrial(Protocol):
    """A trial whose losses and times are known."""

    @property
    def group(self) -> str:
        """Name of the trials among which it competes, as of a budget."""

    @property
    def epochs(self) -> int:
        """Number of epochs of its schedule."""

    @property
    def last_epoch(self) -> int:
        """The epoch with which it ends by itself, at most ``epochs``."""

    @property
    def begin_seconds(self) -> float:
        """Seconds from its start in a slot, or its return to one, to its next epoch."""

    def loss(self, epoch: int) -> float | None:
        """Return the best loss after an epoch, which a scheduler is told; None without one."""

    def seconds(self, before: int, epoch: int) -> float:
        """Return the seconds from the end of epoch number ``before`` to that of ``epoch``."""


class Workers(Protocol):
    """The slots of a search and the processes that take them."""

    def has_room(self, group: str) -> bool:
        """Can a trial of this group be at work beside those that are?"""

    def start(self, number: int, group: str) -> float:
        """Take a slot and return the seconds until its process is there."""

    def end(self, number: int) -> None:
        """Give the trial's slot back."""


class Slots:
    """Slots for trials of any kind, whose processes take no time to start.

    Args:
        slots: number of trials at once.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots

    def has_room(self, group: str) -> bool:
        """Is a slot free?"""
        return self._free > 0

    def start(self, number: int, group: str) -> float:
        """Take a slot."""
        self._free -= 1
        return 0.0

    def end(self, number: int) -> None:
        """Give it back."""
        self._free += 1


@dataclass(frozen=True, slots=True)
class Played:
    """The outcome of a search."""

    seconds: float
    """Seconds from its begin to the end of its last epoch."""
    trained: tuple[int, ...]
    """Number of epochs of each trial that were trained."""


def play(
    trials: Sequence[PlayedTrial], make_scheduler: Callable[[], Scheduler], workers: Workers
) -> Played:
    """Play a search on the clock.

    A free slot takes the paused trial that its scheduler names, and else begins the next trial. A
    trial that was paused in a slot and is the first to go on there loses no time.

    Args:
        trials: the trials in the order in which they begin; none overtakes another.
        make_scheduler: makes the scheduler of a group.
        workers: the slots.
    """
    return _Playing(trials, make_scheduler, workers).to_the_end()


class _Playing:
    """The state of a played search: its clock, its schedulers, and the events to come."""

    def __init__(
        self,
        trials: Sequence[PlayedTrial],
        make_scheduler: Callable[[], Scheduler],
        workers: Workers,
    ) -> None:
        self._trials = trials
        self._workers = workers
        self._schedulers = {group: make_scheduler() for group in dict.fromkeys(
            trial.group for trial in trials
        )}  # fmt: skip
        self._known_looks: dict[tuple[str, int], list[int]] = {}
        """Epochs at which trials are decided on, by their group and the length of schedule."""
        self._trained = [0] * len(trials)
        self._n_begun = 0
        self._now = 0.0
        self._events: list[tuple[float, int, int]] = []
        """Heap of events: the time at which a trial, given by its place, reaches an epoch."""

    def to_the_end(self) -> Played:
        self._fill()
        while self._events:
            self._now, number, epoch = heapq.heappop(self._events)
            decision = self._decide(number, epoch)
            if decision is Decision.GO_ON:
                self._reach_next(number, epoch, self._now)
                continue
            self._trained[number] = epoch
            if decision is Decision.PAUSE and self._next_paused() == number:
                self._scheduler(number).resume(number)
                self._reach_next(number, epoch, self._now)
                continue
            self._workers.end(number)
            self._fill()
        return Played(self._now, tuple(self._trained))

    def _scheduler(self, number: int) -> Scheduler:
        return self._schedulers[self._trials[number].group]

    def _decide(self, number: int, epoch: int) -> Decision:
        """Report a trial's loss to its scheduler, and return what happens to it."""
        trial = self._trials[number]
        has_ended = epoch == trial.last_epoch
        loss, decision = trial.loss(epoch), Decision.GO_ON
        if loss is not None:
            percent = WHOLE_SCHEDULE * epoch // trial.epochs
            decision = self._scheduler(number).report(number, percent, loss, has_ended=has_ended)
        return Decision.STOP if has_ended else decision

    def _fill(self) -> None:
        """Give the free slots to trials."""
        while (number := self._next()) is not None:
            trial = self._trials[number]
            if not self._workers.has_room(trial.group):
                return
            if self._n_begun == number:
                self._n_begun += 1
            else:
                self._scheduler(number).resume(number)
            started = self._now + self._workers.start(number, trial.group)
            self._reach_next(number, self._trained[number], started + trial.begin_seconds)

    def _next(self) -> int | None:
        paused = self._next_paused()
        if paused is not None:
            return paused
        return self._n_begun if self._n_begun < len(self._trials) else None

    def _next_paused(self) -> int | None:
        is_idle = self._n_begun == len(self._trials) and not self._events
        for scheduler in self._schedulers.values():
            number = scheduler.next_paused(is_idle=is_idle)
            if number is not None:
                return number
        return None

    def _reach_next(self, number: int, epoch: int, at: float) -> None:
        """Add the event of the next epoch at which a scheduler decides or the trial ends."""
        trial = self._trials[number]
        looks = self._looks(trial)
        following = min(looks[bisect_right(looks, epoch)], trial.last_epoch)
        heapq.heappush(self._events, (at + trial.seconds(epoch, following), number, following))

    def _looks(self, trial: PlayedTrial) -> list[int]:
        """Return the epochs at which its scheduler decides and the last of its schedule."""
        found = self._known_looks.get((trial.group, trial.epochs))
        if found is None:
            positions = self._schedulers[trial.group].positions
            found = sorted(rung_epochs(positions, trial.epochs) | {trial.epochs})
            self._known_looks[trial.group, trial.epochs] = found
        return found
