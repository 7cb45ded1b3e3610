"""ASHA at equal share of each trial's own schedule, with rungs that survive a restart."""

import math
from dataclasses import dataclass, field

import numpy as np

from study.spec.specification import SearchConfig

_WHOLE_SCHEDULE = 100
"""Percent at which a schedule ends."""


def uses_asha(search: SearchConfig) -> bool:
    """Is ASHA used? With fewer than two trials per survivor of a rung it is a lottery."""
    return search.scheduler == "asha" and search.trials >= 2 * search.reduction_factor


@dataclass(slots=True)
class _Rung:
    milestone: float
    """Percent of a schedule."""
    scores: dict[int, float] = field(default_factory=dict)
    """Negative loss of every trial that reached it, by number."""


class Rungs:
    """The stopping variant of ASHA, keyed by the number of a trial.

    Decides as ``ray.tune.schedulers.ASHAScheduler`` with one bracket does, call for call. Ray's own
    cannot be used, for its rungs can be read only through private fields and are not part of its
    snapshots: after a restore they would be empty, a half-grown trial would fill them with its
    mature losses, and every new trial would be stopped at once. Here they are rebuilt by telling
    the same losses in the same order.

    Trials may have schedules of different lengths; time is the share of the own schedule, because
    at equal epochs a short schedule has cooled down further and always looks better.

    Source: Li et al. 2020, https://arxiv.org/abs/1810.05934.
    """

    def __init__(self, search: SearchConfig) -> None:
        self._is_used = uses_asha(search)
        self._reduction = search.reduction_factor
        self._rungs: list[_Rung] = []
        """The latest first, as a loss counts at the latest milestone that it has passed."""
        if self._is_used:
            first = round(search.grace_share * _WHOLE_SCHEDULE)
            n_rungs = int(np.log(_WHOLE_SCHEDULE / first) / np.log(self._reduction) + 1)
            self._rungs = [_Rung(first * self._reduction**k) for k in reversed(range(n_rungs))]

    def is_cut(self, number: int, percent: int, loss: float, *, has_ended: bool) -> bool:
        """Record a loss, and say whether ASHA stops the trial there; one that ended is recorded."""
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
        """Return each milestone, in percent, with the loss of every trial that reached it."""
        return [(r.milestone, {n: -score for n, score in r.scores.items()}) for r in self._rungs]

    def _cutoff(self, rung: _Rung) -> float:
        """Return the score below which a trial is stopped: the best share of the rung goes on."""
        if not rung.scores:
            return -math.inf
        percentile = (1 - 1 / self._reduction) * 100
        return float(np.percentile(list(rung.scores.values()), percentile))
