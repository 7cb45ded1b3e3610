"""Simulates a search in time: its rungs, its slots, and trials in the order of their starts."""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.cluster.resources import SearchResources, TrialResources
from study.search.rungs import Rungs
from study.spec.search_config import SearchConfig


@dataclass(frozen=True, slots=True)
class TrialCost:
    """The time that one trial takes."""

    budget: str
    """Label of the budget among whose trials it competes, which decides its resources."""
    epochs: int
    """Number of epochs of its schedule."""
    epoch_seconds: float
    """Seconds of each of its epochs."""
    begin_seconds: float
    """Seconds from the end of the trial before it in its slot to its own first epoch, and what that
    takes beyond later ones."""


@dataclass(frozen=True, slots=True)
class Played:
    """The outcome of one simulated search."""

    seconds: float
    """Seconds from the request for the first worker to the last trial's end."""
    trained_share: float
    """Epochs that were trained, as a share of all epochs of all schedules."""


def play(
    trials: Sequence[TrialCost],
    search: SearchConfig,
    *,
    slots: int,
    resources: SearchResources,
    worker_seconds: float,
    rng: np.random.Generator,
) -> Played:
    """Simulate a search without training.

    Each trial has one random loss, the same at every epoch, so that their ranks never change and
    ASHA stops as many as its rungs allow. Early stopping and collapse, which would end some trials
    sooner, are not simulated.

    Args:
        trials: the trials in the order in which they start; none overtakes another.
        search: ASHA's settings.
        slots: number of trials at once.
        resources: resources that trials request.
        worker_seconds: seconds that are added where a worker must be started.
        rng: generator that draws the losses.
    """
    losses = rng.permutation(len(trials)).astype(float)
    cluster = _Cluster(resources, slots=slots, worker_seconds=worker_seconds)
    return _Playing(trials, search, losses, cluster).to_the_end()


class _Cluster:
    """The slots and workers of a search: which trials run, and which workers are kept for reuse."""

    def __init__(self, resources: SearchResources, *, slots: int, worker_seconds: float) -> None:
        self._resources = resources
        self._slots = slots
        self._worker_seconds = worker_seconds
        self._at_work: dict[int, str] = {}
        """Budget of every running trial, by its number."""
        self._idle: Counter[TrialResources] = Counter()
        """Number of workers that are kept, by the resources they hold."""

    def has_room(self, budget: str) -> bool:
        """Can a trial of this budget start beside the running ones?"""
        if len(self._at_work) >= self._slots:
            return False
        return self._resources.shares((*self._at_work.values(), budget)) <= 1

    def start(self, number: int, budget: str) -> float:
        """Start a trial and return the seconds of starting its worker: 0 if one is kept."""
        self._at_work[number] = budget
        own = self._resources.by_budget[budget]
        if self._idle[own]:
            self._idle[own] -= 1
            return 0.0
        for other in self._idle:
            while self._idle[other] and not self._workers_fit():
                self._idle[other] -= 1
        return self._worker_seconds

    def end(self, number: int) -> None:
        """End a trial, whose worker is kept unless it holds a whole node."""
        own = self._resources.by_budget[self._at_work.pop(number)]
        self._idle[own] += not own.exclusive

    def _workers_fit(self) -> bool:
        kept = sum(each.share * n for each, n in self._idle.items())
        return self._resources.shares(self._at_work.values()) + kept <= 1


class _Playing:
    """The state of a simulated search: its clock, its rungs, and the events to come."""

    def __init__(
        self,
        trials: Sequence[TrialCost],
        search: SearchConfig,
        losses: npt.NDArray[np.float64],
        cluster: _Cluster,
    ) -> None:
        self._trials = trials
        self._losses = losses
        self._cluster = cluster
        self._rungs = {trial.budget: Rungs(search) for trial in trials}
        rungs = next(iter(self._rungs.values()))
        self._milestones = [math.ceil(percent) for percent, _ in rungs.recorded()]
        self._n_started = 0
        self._n_epochs = 0
        """Number of epochs of the trials that have ended."""
        self._now = 0.0
        self._events: list[tuple[float, int, int]] = []
        """Heap of events: the time at which a trial, given by its number, reaches an epoch."""

    def to_the_end(self) -> Played:
        self._start_those_with_room()
        while self._events:
            self._now, number, epoch = heapq.heappop(self._events)
            if self._ends(number, epoch):
                self._n_epochs += epoch
                self._cluster.end(number)
                self._start_those_with_room()
            else:
                self._reach_next(number, epoch, self._now)
        return Played(self._now, self._n_epochs / sum(trial.epochs for trial in self._trials))

    def _start_those_with_room(self) -> None:
        while self._n_started < len(self._trials):
            number = self._n_started
            trial = self._trials[number]
            if not self._cluster.has_room(trial.budget):
                return
            self._n_started += 1
            worker_seconds = self._cluster.start(number, trial.budget)
            self._reach_next(number, 0, self._now + worker_seconds + trial.begin_seconds)

    def _ends(self, number: int, epoch: int) -> bool:
        """Report a trial's loss to its rungs: has it ended, or do they stop it?"""
        trial = self._trials[number]
        has_ended = epoch == trial.epochs
        percent = 100 * epoch // trial.epochs
        rungs, loss = self._rungs[trial.budget], float(self._losses[number])
        return rungs.is_cut(number, percent, loss, has_ended=has_ended) or has_ended

    def _reach_next(self, number: int, epoch: int, at: float) -> None:
        """Add the event of the next epoch at which a trial may be stopped or ends."""
        trial = self._trials[number]
        # The first whole epoch at or past each milestone, as the trainer counts percent.
        looks = {-(-milestone * trial.epochs // 100) for milestone in self._milestones}
        following = min(e for e in {*looks, trial.epochs} if e > epoch)
        when = at + (following - epoch) * trial.epoch_seconds
        heapq.heappush(self._events, (when, number, following))
