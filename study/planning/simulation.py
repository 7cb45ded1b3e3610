"""Plays a search whose trials have the times of a plan and losses that are drawn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.cluster.resources import SearchResources, TrialResources
from study.results.scheduling import simulation
from study.results.scheduling.schedulers import StoppingScheduler
from study.search.rungs import milestones
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
class ForetoldSearch:
    """The outcome of one simulated search."""

    seconds: float
    """Seconds from the request for the first worker to the last trial's end."""
    trained_share: float
    """Epochs that were trained, as a share of all epochs of all schedules."""


def play_plan(
    trials: Sequence[TrialCost],
    search: SearchConfig,
    *,
    slots: int,
    resources: SearchResources,
    worker_seconds: float,
    rng: np.random.Generator,
) -> ForetoldSearch:
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
    losses = rng.permutation(len(trials)).astype(float).tolist()
    positions = milestones(search)
    played = simulation.play(
        [_Foretold(cost, loss) for cost, loss in zip(trials, losses, strict=True)],
        lambda: StoppingScheduler(positions, search.reduction_factor),
        _Cluster(resources, slots=slots, worker_seconds=worker_seconds),
    )
    return ForetoldSearch(
        played.seconds, sum(played.trained) / sum(trial.epochs for trial in trials)
    )


class _Foretold:
    """A trial that takes the time of its plan and has one loss.

    Args:
        cost: its time.
        loss: the loss.
    """

    def __init__(self, cost: TrialCost, loss: float) -> None:
        self.group = cost.budget
        self.epochs = self.last_epoch = cost.epochs
        self.begin_seconds = cost.begin_seconds
        self._epoch_seconds = cost.epoch_seconds
        self._loss = loss

    def loss(self, epoch: int) -> float:
        """Return its loss."""
        return self._loss

    def seconds(self, before: int, epoch: int) -> float:
        """Return the seconds of so many epochs."""
        return (epoch - before) * self._epoch_seconds


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

    def has_room(self, group: str) -> bool:
        """Can a trial of this budget start beside the running ones?"""
        if len(self._at_work) >= self._slots:
            return False
        return self._resources.shares((*self._at_work.values(), group)) <= 1

    def start(self, number: int, group: str) -> float:
        """Start a trial and return the seconds of starting its worker: 0 if one is kept."""
        self._at_work[number] = group
        own = self._resources.by_budget[group]
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
