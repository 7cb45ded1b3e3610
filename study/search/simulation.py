"""How long a search takes, by playing it: real rungs, real slots, trials in the order they come."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.search.scheduler import Rungs
from study.spec import SearchConfig


@dataclass(frozen=True, slots=True)
class TrialCost:
    """One trial, as far as the clock is concerned."""

    epochs: int
    """Of its schedule."""
    epoch_seconds: float


@dataclass(frozen=True, slots=True)
class Played:
    """One search that was played."""

    seconds: float
    """From the first trial's start to the last one's end."""
    trained_share: float
    """Epochs that were trained, of all epochs of all schedules."""


def play(
    trials: Sequence[TrialCost],
    search: SearchConfig,
    *,
    slots: int,
    trial_seconds: float,
    rng: np.random.Generator,
) -> Played:
    """Run a search on the clock alone.

    Trials are exchangeable and keep their rank: each has one random loss at every epoch. ASHA then
    stops as many as it can tell apart; early stopping and collapse, which would end some sooner,
    are left out.

    Args:
        trials: in the order in which they are asked for.
        search: ASHA's settings.
        slots: trials at once.
        trial_seconds: from the end of a slot's trial to the first step of its next.
        rng: draws the losses.
    """
    rungs = Rungs(search)
    milestones = [math.ceil(milestone) for milestone, _ in rungs.recorded()]
    losses = rng.permutation(len(trials)).astype(float)
    waiting = iter(range(len(trials)))
    events: list[tuple[float, int, int]] = []
    """When which trial reaches which epoch."""
    trained = 0
    now = 0.0

    def start_next() -> None:
        number = next(waiting, None)
        if number is not None:
            rungs.add(number)
            reach(number, 0, now + trial_seconds)

    def reach(number: int, epoch: int, at: float) -> None:
        """Go on to the next epoch at which something is decided."""
        trial = trials[number]
        # The first whole epoch at or past each milestone, as the trainer counts percent.
        looks = {-(-milestone * trial.epochs // 100) for milestone in milestones}
        following = min(e for e in {*looks, trial.epochs} if e > epoch)
        heapq.heappush(events, (at + (following - epoch) * trial.epoch_seconds, number, following))

    for _ in range(min(slots, len(trials))):
        start_next()
    while events:
        now, number, epoch = heapq.heappop(events)
        epochs = trials[number].epochs
        has_ended = epoch == epochs
        percent = 100 * epoch // epochs
        is_cut = rungs.is_cut(number, percent, losses[number], has_ended=has_ended)
        if has_ended or is_cut:
            trained += epoch
            start_next()
        else:
            reach(number, epoch, now)
    return Played(now, trained / sum(trial.epochs for trial in trials))
