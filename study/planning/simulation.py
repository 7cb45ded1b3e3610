"""How long a search takes, by playing it: real rungs, real slots, trials in the order they come."""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.cluster.resources import SearchResources, TrialResources
from study.search.rungs import Rungs
from study.spec.specification import SearchConfig


@dataclass(frozen=True, slots=True)
class TrialCost:
    """One trial, as far as the clock is concerned."""

    budget: str
    """Label of the budget among whose trials it competes; what it asks for follows from it."""
    epochs: int
    """Length of its schedule."""
    epoch_seconds: float


@dataclass(frozen=True, slots=True)
class Played:
    """One search that was played."""

    seconds: float
    """Time from asking for the first worker to the last trial's end."""
    trained_share: float
    """Epochs that were trained, as a share of all epochs of all schedules."""


def play(
    trials: Sequence[TrialCost],
    search: SearchConfig,
    *,
    slots: int,
    resources: SearchResources,
    trial_seconds: float,
    worker_seconds: float,
    rng: np.random.Generator,
) -> Played:
    """Run a search on the clock alone.

    Trials are exchangeable and keep their rank: each has one random loss at every epoch. ASHA then
    stops as many as it can tell apart; early stopping and collapse, which would end some sooner,
    are left out.

    Args:
        trials: in the order in which they are asked for; none overtakes another.
        search: ASHA's settings.
        slots: trials at once.
        resources: what trials ask for.
        trial_seconds: from the end of a slot's trial to the first step of its next.
        worker_seconds: more of it, if a worker must be started.
        rng: draws the losses.
    """
    losses = rng.permutation(len(trials)).astype(float)
    cluster = _Cluster(resources, slots=slots, worker_seconds=worker_seconds)
    playing = _Playing(trials, search, losses, cluster, trial_seconds=trial_seconds)
    return playing.to_the_end()


class _Cluster:
    """The slots and workers of a search: which trials run, and which workers are kept for reuse."""

    def __init__(self, resources: SearchResources, *, slots: int, worker_seconds: float) -> None:
        self._resources = resources
        self._slots = slots
        self._worker_seconds = worker_seconds
        self._at_work: dict[int, str] = {}
        """The budget of every running trial, by its number."""
        self._idle: Counter[TrialResources] = Counter()
        """Number of workers that are kept, by what they hold."""

    def has_room(self, budget: str) -> bool:
        """Can a trial of this budget start beside those that run?"""
        if len(self._at_work) >= self._slots:
            return False
        return self._resources.shares((*self._at_work.values(), budget)) <= 1

    def start(self, number: int, budget: str) -> float:
        """Let a trial run; return the seconds that its worker needs: none if one is kept."""
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
    """A search while it is played: its clock, its rungs, and what happens next."""

    def __init__(
        self,
        trials: Sequence[TrialCost],
        search: SearchConfig,
        losses: npt.NDArray[np.float64],
        cluster: _Cluster,
        *,
        trial_seconds: float,
    ) -> None:
        self._trials = trials
        self._losses = losses
        self._cluster = cluster
        self._trial_seconds = trial_seconds
        self._rungs = {trial.budget: Rungs(search) for trial in trials}
        rungs = next(iter(self._rungs.values()))
        self._milestones = [math.ceil(percent) for percent, _ in rungs.recorded()]
        self._n_started = 0
        self._n_epochs = 0
        """Epochs of the trials that have ended."""
        self._now = 0.0
        self._events: list[tuple[float, int, int]] = []
        """Heap of the time at which a trial, by its number, reaches an epoch."""

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
            budget = self._trials[number].budget
            if not self._cluster.has_room(budget):
                return
            self._n_started += 1
            worker_seconds = self._cluster.start(number, budget)
            self._reach_next(number, 0, self._now + self._trial_seconds + worker_seconds)

    def _ends(self, number: int, epoch: int) -> bool:
        """Show a trial's loss to its rungs: has it ended, or is it stopped here?"""
        trial = self._trials[number]
        has_ended = epoch == trial.epochs
        percent = 100 * epoch // trial.epochs
        rungs, loss = self._rungs[trial.budget], float(self._losses[number])
        return rungs.is_cut(number, percent, loss, has_ended=has_ended) or has_ended

    def _reach_next(self, number: int, epoch: int, at: float) -> None:
        """Note the next epoch at which something is decided about a trial."""
        trial = self._trials[number]
        # The first whole epoch at or past each milestone, as the trainer counts percent.
        looks = {-(-milestone * trial.epochs // 100) for milestone in self._milestones}
        following = min(e for e in {*looks, trial.epochs} if e > epoch)
        when = at + (following - epoch) * trial.epoch_seconds
        heapq.heappush(self._events, (when, number, following))
