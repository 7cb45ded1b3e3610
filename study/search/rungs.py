"""ASHA at equal share of each trial's own schedule, with rungs that survive a restart."""

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from study.spec.specification import SearchConfig

_WHOLE_SCHEDULE = 100
"""Percent at which a schedule ends."""

_TIME, _LOSS = "percent", "loss"


def uses_asha(search: SearchConfig) -> bool:
    """Is ASHA used? With fewer than two trials per survivor of a rung it is a lottery."""
    return search.scheduler == "asha" and search.trials >= 2 * search.reduction_factor


class Rungs:
    """Ray's ASHA, keyed by the number of a trial instead of Ray's identity of a run.

    Ray leaves the state of a scheduler out of its snapshots: after a restore the rungs would be
    empty, a half-grown trial would fill them with its mature losses, and every new trial would be
    stopped at once. Here the rungs are rebuilt by telling ASHA the same losses in the same order.

    Trials may have schedules of different lengths; time is the share of the own schedule, because
    at equal epochs a short schedule has cooled down further and always looks better.
    """

    def __init__(self, search: SearchConfig) -> None:
        self._asha: ASHAScheduler | None = None
        if uses_asha(search):
            self._asha = ASHAScheduler(
                time_attr=_TIME,
                metric=_LOSS,
                mode="min",
                max_t=_WHOLE_SCHEDULE,
                grace_period=round(search.grace_share * _WHOLE_SCHEDULE),
                reduction_factor=search.reduction_factor,
            )

    def add(self, number: int) -> None:
        """Enter a trial."""
        if self._asha is not None:
            self._asha.on_trial_add(None, _trial(number))

    def is_cut(self, number: int, percent: int, loss: float, *, has_ended: bool) -> bool:
        """Record a loss, and say whether ASHA stops the trial there; one that ended is recorded."""
        if self._asha is None:
            return False
        result = {_TIME: percent, _LOSS: loss}
        if has_ended:
            self._asha.on_trial_complete(None, _trial(number), result)
            return False
        decision = self._asha.on_trial_result(None, _trial(number), result)
        return bool(decision == TrialScheduler.STOP)

    def recorded(self) -> list[tuple[float, dict[int, float]]]:
        """Return each milestone, in percent, with the loss of every trial that reached it."""
        if self._asha is None:
            return []
        (bracket,) = self._asha._brackets
        return [
            (milestone, {int(number): -reward for number, reward in recorded.items()})
            for milestone, recorded in bracket._rungs
        ]


def _trial(number: int) -> Any:
    """Return what ASHA reads of a trial."""
    return SimpleNamespace(trial_id=str(number))
