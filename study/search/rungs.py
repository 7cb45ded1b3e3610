"""ASHA at equal shares of each trial's own schedule, with rungs that survive a restart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from study.spec.search_config import SearchConfig

_WHOLE_SCHEDULE = 100
"""End of a schedule, in percent."""


def uses_asha(search: SearchConfig) -> bool:
    """Is ASHA used? A search with fewer than two trials per survivor of a rung does without it."""
    return search.scheduler == "asha" and search.trials >= 2 * search.reduction_factor


def milestones(search: SearchConfig) -> list[float]:
    """Return the positions of ASHA's rungs in percent of a schedule, ascending; none without it."""
    if not uses_asha(search):
        return []
    first = round(search.grace_share * _WHOLE_SCHEDULE)
    n_rungs = int(np.log(_WHOLE_SCHEDULE / first) / np.log(search.reduction_factor) + 1)
    return [first * search.reduction_factor**k for k in range(n_rungs)]


def rung_epochs(milestones: Sequence[float], epochs: int) -> frozenset[int]:
    """Return the epochs, counted from 1, at which a rung may stop a trial of ``epochs`` epochs.

    An epoch that passes several milestones is recorded at the latest of them, and each of the
    epochs that follow at the latest one that is left.
    """
    left, found = sorted(milestones), set[int]()
    for epoch in range(1, epochs + 1):
        percent = _WHOLE_SCHEDULE * epoch // epochs
        passed = [milestone for milestone in left if percent >= milestone]
        if passed:
            left.remove(passed[-1])
            found.add(epoch)
    return frozenset(found)


@dataclass(slots=True)
class _Rung:
    milestone: float
    """Position of the rung on a trial's schedule, in percent."""
    scores: dict[int, float] = field(default_factory=dict)
    """Negative loss of every trial that has reached the rung, by number."""


class Rungs:
    """The stopping variant of ASHA, keyed by the number of a trial.

    It decides as ``ray.tune.schedulers.ASHAScheduler`` with one bracket does, call for call. Ray's
    class cannot be used: its rungs are private and no part of its snapshots, so after a restore
    they are empty. A resumed trial would then fill the early rungs with losses of late epochs, and
    every new trial would be stopped at once. Here the rungs are rebuilt by recording the same
    losses in the same order.

    Trials may have schedules of different lengths. Time is measured as a share of the own schedule,
    because at equal epochs a shorter schedule has a lower learning rate and looks better.

    Source: Li et al. 2020, https://arxiv.org/abs/1810.05934.
    """

    def __init__(self, search: SearchConfig) -> None:
        self._is_used = uses_asha(search)
        self._reduction = search.reduction_factor
        self._rungs = [_Rung(milestone) for milestone in reversed(milestones(search))]
        """The rungs, the latest first: a loss counts at the latest milestone that it has passed."""

    def is_cut(self, number: int, percent: int, loss: float, *, has_ended: bool) -> bool:
        """Record a loss, and return whether ASHA stops the trial; one that has ended never is."""
        if not self._is_used:
            return False
        if percent >= _WHOLE_SCHEDULE and not has_ended:
            return True
        for rung in self._rungs:
            if percent >= rung.milestone and number not in rung.scores:
                is_behind = -loss < self._cutoff(rung)
                rung.scores[number] = -loss
                return is_behind and not has_ended
        return False

    def recorded(self) -> list[tuple[float, dict[int, float]]]:
        """Return each milestone in percent, with the loss of every trial that has reached it."""
        return [(r.milestone, {n: -score for n, score in r.scores.items()}) for r in self._rungs]

    def _cutoff(self, rung: _Rung) -> float:
        """Return the score below which a trial is stopped: 1 in ``reduction_factor`` survives."""
        if not rung.scores:
            return -math.inf
        percentile = (1 - 1 / self._reduction) * 100
        return float(np.percentile(list(rung.scores.values()), percentile))
