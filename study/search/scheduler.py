"""ASHA at equal share of each trial's own schedule, with rungs that survive a restore."""

from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from study.search.searcher import METRIC, PROGRESS
from study.spec import SearchConfig

_WHOLE_SCHEDULE = 100
"""Percent at which a schedule ends."""


def build_scheduler(search: SearchConfig) -> TrialScheduler:
    """Return the scheduler of one cell.

    Trials may have schedules of different lengths; time is the share of the own schedule, because
    at equal epochs a short schedule has cooled down further and always looks better. With fewer
    than two trials per survivor of a rung ASHA is a lottery, so such a search runs without it.
    """
    if search.scheduler == "fifo" or search.trials < 2 * search.reduction_factor:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr=PROGRESS,
        metric=METRIC,
        mode="min",
        max_t=_WHOLE_SCHEDULE,
        grace_period=round(search.grace_share * _WHOLE_SCHEDULE),
        reduction_factor=search.reduction_factor,
    )


class RungKeeper(Callback):  # type: ignore[misc]
    """Carries ASHA's rungs through Ray's snapshot.

    Ray leaves the scheduler out of it: after a restore the rungs would be empty, a half-grown trial
    would fill them with its mature losses, and every new trial would be stopped at once.
    Keeps its identity with the scheduler because Ray pickles both in one file.
    """

    def __init__(self, scheduler: TrialScheduler) -> None:
        self.scheduler = scheduler

    def get_state(self) -> dict[str, Any] | None:
        """Return the rungs of every bracket."""
        if not isinstance(self.scheduler, ASHAScheduler):
            return None
        return {
            "rungs": [
                [(milestone, dict(recorded)) for milestone, recorded in bracket._rungs]
                for bracket in self.scheduler._brackets
            ]
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put the rungs back; Ray calls it before it adds the trials again."""
        if not isinstance(self.scheduler, ASHAScheduler):
            return
        for bracket, rungs in zip(self.scheduler._brackets, state["rungs"], strict=True):
            bracket._rungs = [(milestone, dict(recorded)) for milestone, recorded in rungs]
