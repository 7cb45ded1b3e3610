"""How long a search takes, by playing it: real rungs, real slots, trials in the order they come."""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.cluster.resources import SearchResources, TrialResources
from study.search.rungs import Rungs
from study.spec.specification import SearchConfig


@dataclass(frozen=True, slots=True)
class TrialCost:
    """One trial, as far as the clock is concerned."""

    budget: str
    """Among whose trials it competes; what it asks for follows from it."""
    epochs: int
    """Of its schedule."""
    epoch_seconds: float


@dataclass(frozen=True, slots=True)
class Played:
    """One search that was played."""

    seconds: float
    """From asking for the first worker to the last trial's end."""
    trained_share: float
    """Epochs that were trained, of all epochs of all schedules."""


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
    rungs = {trial.budget: Rungs(search) for trial in trials}
    milestones = [math.ceil(m) for m, _ in next(iter(rungs.values())).recorded()]
    losses = rng.permutation(len(trials)).astype(float)
    waiting = list(reversed(range(len(trials))))
    at_work: dict[int, str] = {}
    """The budget of every running trial."""
    idle: Counter[TrialResources] = Counter()
    """Workers that are kept."""
    events: list[tuple[float, int, int]] = []
    """When which trial reaches which epoch."""
    trained = 0
    now = 0.0

    def start_those_with_room() -> None:
        while waiting and len(at_work) < slots:
            number = waiting[-1]
            budget = trials[number].budget
            if resources.shares((*at_work.values(), budget)) > 1:
                return
            waiting.pop()
            at_work[number] = budget
            reach(number, 0, now + trial_seconds + worker_start(budget))

    def worker_start(budget: str) -> float:
        """Take a worker that is kept, or make room for a new one."""
        own = resources.by_budget[budget]
        if idle[own]:
            idle[own] -= 1
            return 0.0
        for other in idle:
            while idle[other] and not fits():
                idle[other] -= 1
        return worker_seconds

    def fits() -> bool:
        kept = sum(each.share * n for each, n in idle.items())
        return resources.shares(at_work.values()) + kept <= 1

    def reach(number: int, epoch: int, at: float) -> None:
        """Go on to the next epoch at which something is decided."""
        trial = trials[number]
        # The first whole epoch at or past each milestone, as the trainer counts percent.
        looks = {-(-milestone * trial.epochs // 100) for milestone in milestones}
        following = min(e for e in {*looks, trial.epochs} if e > epoch)
        heapq.heappush(events, (at + (following - epoch) * trial.epoch_seconds, number, following))

    start_those_with_room()
    while events:
        now, number, epoch = heapq.heappop(events)
        trial = trials[number]
        has_ended = epoch == trial.epochs
        percent = 100 * epoch // trial.epochs
        is_cut = rungs[trial.budget].is_cut(number, percent, losses[number], has_ended=has_ended)
        if has_ended or is_cut:
            trained += epoch
            own = resources.by_budget[at_work.pop(number)]
            idle[own] += not own.exclusive
            start_those_with_room()
        else:
            reach(number, epoch, now)
    return Played(now, trained / sum(trial.epochs for trial in trials))
