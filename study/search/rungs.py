"""ASHA at equal shares of each trial's own schedule, with rungs that survive a restart."""

import math
from dataclasses import dataclass, field

import numpy as np

from study.spec.specification import SearchConfig

_WHOLE_SCHEDULE = 100
"""End of a schedule, in percent."""


def uses_asha(search: SearchConfig) -> bool:
    """Is ASHA used? A search with fewer than two trials per survivor of a rung does without it."""
    return search.scheduler == "asha" and search.trials >= 2 * search.reduction_factor


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
        self._rungs: list[_Rung] = []
        """The rungs, the latest first: a loss counts at the latest milestone that it has passed."""
        if self._is_used:
            first = round(search.grace_share * _WHOLE_SCHEDULE)
            n_rungs = int(np.log(_WHOLE_SCHEDULE / first) / np.log(self._reduction) + 1)
            self._rungs = [_Rung(first * self._reduction**k) for k in reversed(range(n_rungs))]

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
