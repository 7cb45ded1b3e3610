"""ASHA at equal shares of each trial's own schedule, with rungs that survive a restart."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WHOLE_SCHEDULE = 100
"""End of a schedule, in percent."""


def can_fill_rungs(trials: int, reduction_factor: float) -> bool:
    """Are there two trials at least for each that survives a rung?"""
    return trials >= 2 * reduction_factor


def rung_positions(grace_share: float, reduction_factor: float) -> list[float]:
    """Return the positions of ASHA's rungs in percent of a schedule, ascending.

    Args:
        grace_share: share of a schedule up to the first rung, in [0.01, 1].
        reduction_factor: ASHA's eta, above 1: of each rung's position by that of the one before.
    """
    first = round(grace_share * WHOLE_SCHEDULE)
    n_rungs = int(math.log(WHOLE_SCHEDULE / first) / math.log(reduction_factor) + 1)
    return [first * reduction_factor**k for k in range(n_rungs)]


def rung_epochs(positions: Sequence[float], epochs: int) -> frozenset[int]:
    """Return the epochs, counted from 1, at which a rung may stop a trial of ``epochs`` epochs.

    An epoch that passes several rungs is recorded at the latest of them, and each of the epochs
    that follow at the latest one that is left.
    """
    left, found = sorted(positions), set[int]()
    for epoch in range(1, epochs + 1):
        percent = WHOLE_SCHEDULE * epoch // epochs
        passed = [position for position in left if percent >= position]
        if passed:
            left.remove(passed[-1])
            found.add(epoch)
    return frozenset(found)


@dataclass(slots=True)
class _Rung:
    position: float
    """Position of the rung on a trial's schedule, in percent."""
    scores: dict[int, float] = field(default_factory=dict)
    """Negative loss of every trial that has reached the rung, by number."""
    ascending: list[float] = field(default_factory=list)
    """The scores in ascending order."""

    def add(self, number: int, score: float) -> None:
        self.scores[number] = score
        bisect.insort(self.ascending, score)


class StoppingRungs:
    """The stopping variant of ASHA, keyed by the number of a trial.

    It decides as ``ray.tune.schedulers.ASHAScheduler`` with one bracket does, call for call. Ray's
    class cannot be used: its rungs are private and no part of its snapshots, so after a restore
    they are empty. A resumed trial would then fill the early rungs with losses of late epochs, and
    every new trial would be stopped at once. Here the rungs are rebuilt by recording the same
    losses in the same order.

    Trials may have schedules of different lengths. Time is measured as a share of the own schedule,
    because at equal epochs a shorter schedule has a lower learning rate and looks better.

    Source: Li et al. 2020, https://arxiv.org/abs/1810.05934.

    Args:
        positions: positions of the rungs in percent of a schedule; without one nothing is stopped.
        reduction_factor: ASHA's eta: one trial in so many survives a rung.
    """

    def __init__(self, positions: Sequence[float], reduction_factor: float) -> None:
        self._rungs = [_Rung(position) for position in sorted(positions, reverse=True)]
        """The rungs, the latest first: a loss counts at the latest position that it has passed."""
        percent = (1 - 1 / reduction_factor) * 100
        self._share = percent / 100
        """Share of a rung's trials that do not survive it, rounded as Ray's class rounds it."""

    def is_cut(self, number: int, percent: int, loss: float, *, has_ended: bool) -> bool:
        """Record a loss, and return whether ASHA stops the trial; one that has ended never is."""
        if not self._rungs:
            return False
        if percent >= WHOLE_SCHEDULE and not has_ended:
            return True
        for rung in self._rungs:
            if percent >= rung.position and number not in rung.scores:
                is_behind = -loss < percentile(rung.ascending, self._share)
                rung.add(number, -loss)
                return is_behind and not has_ended
        return False

    def recorded(self) -> list[tuple[float, dict[int, float]]]:
        """Return each rung's position in percent, with the loss of every trial that reached it."""
        return [(r.position, {n: -score for n, score in r.scores.items()}) for r in self._rungs]


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the value below which a share of others lies, minus infinity if there are none.

    The same float as ``numpy.percentile`` returns, in a hundredth of its time: a simulated search
    asks for it at each rung of each trial.

    Args:
        ascending: finite values in ascending order.
        share: in [0, 1).
    """
    if not ascending:
        return -math.inf
    place = (len(ascending) - 1) * share
    below = math.floor(place)
    low, high = ascending[below], ascending[min(below + 1, len(ascending) - 1)]
    part, distance = place - below, high - low
    return low + distance * part if part < 0.5 else high - distance * (1 - part)
