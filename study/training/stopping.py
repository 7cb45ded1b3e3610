"""The rules by which a trial stops: nothing more to gain, or nothing to show."""

import math
from typing import Any

from study.results.records import StopReason
from study.results.scores import COLLAPSED_LOGIT_SD, Validation
from study.training.train_config import TrainConfig

COLLAPSED_SKILL = 0.0
"""Skill against the training base rate at or under which nothing was learned.

The analysis judges a model on the test days by another rule, the upper bound of its skill: an epoch
of a search has one number without an interval, and a trial must not be ended late.
"""


def is_collapsed(scores: Validation) -> bool:
    """Has the model fallen back to the base rate?"""
    return scores.skill <= COLLAPSED_SKILL or scores.logit_sd < COLLAPSED_LOGIT_SD


class EarlyStopping:
    """Counts the epochs since the validation loss last fell by more than ``min_delta``.

    It decides when to stop and nothing else: the trainer decides which weights are the best, and
    there any gain counts.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._reference = math.inf
        self._epochs_without = 0

    def update(self, loss: float) -> None:
        """Take in the validation loss of one more epoch."""
        if loss < self._reference - self._config.min_delta:
            self._reference = loss
            self._epochs_without = 0
        else:
            self._epochs_without += 1

    @property
    def is_exhausted(self) -> bool:
        """Has the patience run out? Never, if there is no limit to it."""
        patience = self._config.patience
        return patience is not None and self._epochs_without >= patience

    def reason(self, epoch: int, *, best_is_collapsed: bool) -> StopReason | None:
        """Return why no epoch follows epoch number ``epoch``; None if one does."""
        reason: StopReason | None = None
        if epoch == self._config.epochs:
            reason = "completed"
        elif self.is_exhausted:
            reason = "early_stopping"
        is_graced = epoch < self._config.collapse_grace_share * self._config.epochs
        if best_is_collapsed:
            # However it ended, a collapsed best is no result.
            return "collapsed" if reason is not None or not is_graced else None
        return reason

    def state_dict(self) -> dict[str, Any]:
        """Return the counters."""
        return {"reference": self._reference, "epochs_without": self._epochs_without}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from saved counters."""
        self._reference = state["reference"]
        self._epochs_without = state["epochs_without"]
